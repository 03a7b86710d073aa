"""What the official client of the Model Context Protocol sees of a server. It runs by itself, in the client's
own environment:
mcp_client.py URL TOKEN MODE, where MODE is auto, legacy or a revision; it prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


async def seen(url: str, token: str, mode: str) -> dict[str, Any]:
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {token}"})
    async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        tools = (await client.list_tools()).tools
        rows = await client.call_tool("view_costly", {"kind": "hard", "cost__gte": 5, "_sort": "-cost"})
        wrong = await client.call_tool("view_costly", {"knid": "hard"})
        made = [await client.call_tool("form_cost", {"kind": "soft", "cost": 3, "_idempotency_key": "k"}) for _ in range(2)]
        refused = await client.call_tool("form_cost", {"kind": "wet"})
        files = (await client.list_resources()).resources
        texts = [(await client.read_resource(one.uri)).contents[0] for one in files]
        return {
            "revision": client.protocol_version, "tools": [one.name for one in tools],
            "rows": rows.structured_content, "wrong": [wrong.is_error, wrong.content[0].text],
            "made": [one.structured_content["id"] for one in made],
            "refused": [refused.is_error, refused.content[0].text],
            "files": [str(one.uri) for one in files], "texts": [getattr(one, "text", "") for one in texts],
            "templates": [one.uri_template for one in (await client.list_resource_templates()).resource_templates],
        }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(seen(*sys.argv[1:4]))))
