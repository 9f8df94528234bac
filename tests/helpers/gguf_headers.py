"""Headers of GGUF files, byte by byte."""

import struct


def gguf_header(*entries: tuple[str, int, bytes], count: int | None = None) -> bytes:
    """Return a header with these entries: key, type, packed value.

    Args:
        entries: the entries.
        count: the number of entries that it states; None: the true number.
    """
    count = len(entries) if count is None else count
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, count)
    for key, kind, value in entries:
        head += packed(key) + struct.pack("<I", kind) + value
    return head


def packed(text: str) -> bytes:
    """Return a text as a header holds it."""
    return struct.pack("<Q", len(text)) + text.encode()
