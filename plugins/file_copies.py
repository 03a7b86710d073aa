"""A file once more at another path, for providers that cannot copy by themselves."""

from __future__ import annotations

from contextlib import closing

from app import Blob, Blobs, Conflict, NotFound, PreconditionFailed

# ==== 1. COPIES ==================================================================================================
# The bytes are read and staged again. A file that is replaced meanwhile is copied as it was.
# uses: ERRORS VALUES CONTRACTS
# defines: within


def within(blobs: Blobs, source: str, target: str) -> Blob:
    """Copies a blob inside a provider, with its time. Raises NotFound if it is missing, Conflict if the target exists."""
    blob = blobs.stat(source)
    if blob is None:
        raise NotFound(f"{source} does not exist")
    with closing(blobs.read(source, if_match=blob.etag)) as chunks:
        staged = blobs.stage(chunks, target)
    try:
        return blobs.publish(staged._replace(modified_at=blob.modified_at), target, if_none_match=True)
    except PreconditionFailed as error:
        blobs.discard(staged)
        raise Conflict(f"{target} exists") from error
    except BaseException:
        blobs.discard(staged)
        raise
