"""The SHA-256 of bytes that come in several requests, and to several processes: each goes on where another one stopped."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from typing import Any

# ==== 1. DIGEST ==================================================================================================
# hashlib does not say how far it has come. The library beneath it does: a context of 112 bytes, the same on each version of
# it. Where that cannot be called, a digest is known of what comes in one go.
# uses: nothing
# defines: Digest resumed

_CONTEXT_BYTES = 112  # SHA256_CTX: eight words of the hash, bits so far in two, a block, bytes in it, bytes of the result
_BITS_AT, _IN_BLOCK_AT, _RESULT_AT = 32, 104, 108


class Digest:
    """A digest that has no `state` to go on from: "" always."""

    state = ""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, chunk: memoryview) -> None:
        self._hash.update(chunk)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _Resumable(Digest):
    """One that has."""

    def __init__(self, library: Any, context: bytes) -> None:
        import ctypes

        self._ctypes, self._library = ctypes, library
        self._context = ctypes.create_string_buffer(context, _CONTEXT_BYTES)

    @property
    def state(self) -> str:  # type: ignore[override]
        return self._context.raw.hex()

    def update(self, chunk: memoryview) -> None:
        """Of a chunk in memory that could be written to."""
        if chunk:
            first = self._ctypes.c_char.from_buffer(chunk)
            self._library.SHA256_Update(self._context, self._ctypes.byref(first), len(chunk))

    def hexdigest(self) -> str:
        result = self._ctypes.create_string_buffer(32)
        copy = self._ctypes.create_string_buffer(self._context.raw, _CONTEXT_BYTES)  # which this call uses up
        self._library.SHA256_Final(result, copy)
        return result.raw.hex()


@cache
def _library() -> Any:
    """The library of hashlib; None if it cannot be called, or does not do what it should."""
    with suppress(ImportError, AttributeError, OSError):
        import _hashlib
        import ctypes

        found = ctypes.CDLL(_hashlib.__file__)
        found.SHA256_Init.argtypes = (ctypes.c_char_p,)
        found.SHA256_Update.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
        found.SHA256_Final.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        if _is_good(found):
            return found
    return None


def _begun(library: Any) -> _Resumable:
    made = _Resumable(library, bytes(_CONTEXT_BYTES))
    library.SHA256_Init(made._context)
    return made


def _is_good(library: Any) -> bool:
    """Whether two of its digests, the second of which goes on from the first, are as one of hashlib."""
    data = bytearray(range(200))
    first = _begun(library)
    first.update(memoryview(data)[:77])
    if not _is_state(state := bytes.fromhex(first.state), 77):
        return False
    second = _Resumable(library, state)
    second.update(memoryview(data)[77:])
    return second.hexdigest() == hashlib.sha256(data).hexdigest()


def _is_state(context: bytes, size_bytes: int) -> bool:
    """Whether a context is one of so many bytes: the library trusts it."""
    import sys

    low, high, in_block, result = (
        int.from_bytes(context[at : at + 4], sys.byteorder) for at in (_BITS_AT, _BITS_AT + 4, _IN_BLOCK_AT, _RESULT_AT)
    )
    is_whole = len(context) == _CONTEXT_BYTES and (in_block, result) == (size_bytes % 64, 32)
    return is_whole and (high << 32 | low) == size_bytes * 8


def resumed(state: str, size_bytes: int) -> Digest | None:
    """The digest that had this state when it had so many bytes; None if it cannot go on. Of no bytes it begins."""
    library = _library()
    if not size_bytes:
        return _begun(library) if library else Digest()
    with suppress(ValueError):
        context = bytes.fromhex(state)
        if library and _is_state(context, size_bytes):
            return _Resumable(library, context)
    return None
