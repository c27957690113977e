"""What the first bytes of a GGUF file say: enough to refuse a file that is none.

The format begins with the four letters GGUF, then, little-endian, its version (32 bits)
and the number of tensors (64 bits). llama.cpp says no more than "failed to load".
"""

import struct

HEADER_SIZE = 16
"""Bytes of the file that ``gguf_fault`` wants to see."""

_HEADER = struct.Struct("<4sIQ")
_OLDEST_VERSION = 2  # llama.cpp reads nothing older
_SHOWN = 4  # letters of a wrong beginning to show


def gguf_fault(header: bytes) -> str | None:
    """Say what keeps a file from being a model in GGUF format.

    Args:
        header: The first ``HEADER_SIZE`` bytes of the file, fewer if it is shorter.

    Returns:
        The fault as a phrase to put after the file's name, or None.
    """
    if not header.startswith(b"GGUF"):
        return f"is no GGUF file: it begins with {header[:_SHOWN]!r}, not with b'GGUF'"
    if len(header) < HEADER_SIZE:
        return f"is cut off: it has only {len(header)} bytes"
    _, version, tensors = _HEADER.unpack_from(header)
    if version < _OLDEST_VERSION:
        return f"is in GGUF version {version}, which is too old for llama.cpp"
    if not tensors:
        return "is a GGUF file without weights"
    return None
