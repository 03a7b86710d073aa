"""What a write is answered is what a read of the record is answered afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sites import PROVIDERS, Site

import app

FORM = """
[forms.leave.fields]
a = {}
b = { type = "integer" }
"""
STAMPS = {"created_at", "created_by", "updated_at", "updated_by"}


@pytest.mark.parametrize("data", [{"b": 5}, {"a": "é"}, {}, {"b": 5.0}, {"a": "x", "b": 2**62}])
def test_the_answer_to_a_new_record_has_its_empty_fields_where_lists_have_them(tmp_path: Path, data: dict[str, Any]) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + FORM)
    for made in (site.create("forms/leave", data).data, *site.create("forms/leave", [data, data]).data["items"]):
        assert list(made)[:4] == ["id", "version", "a", "b"]
        assert app.dump_json(made) == app.dump_json(dict(made))
        assert app.dump_json(made) == app.dump_json(site.read(f"forms/leave/records/{made['id']}").data)
        [entry] = site.audit(record=made["id"])
        assert entry["after"].keys() == data.keys() | STAMPS
    site.close()
