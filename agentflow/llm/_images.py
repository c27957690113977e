"""Images as parts of messages, from their bytes or files."""

from pathlib import Path
from typing import TypeAlias

from agentflow.llm._messages import ImagePart

ImageLike: TypeAlias = ImagePart | Path | bytes
"""What may be given as an image: a part, a file, or a file's bytes."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"heic", 8, "image/heic"),
)


def image(source: ImageLike) -> ImagePart:
    """Make a message part of an image; its kind is read from its first bytes.

    ::

        asked = [TextPart("What is this?"), image(Path("cat.jpg"))]
        await llm.generate(LLMMessage(content=asked))

    Args:
        source: A file, or its bytes. Reading a file blocks: on a slow disk use a thread,
            as ``ChatSession`` does.

    Returns:
        The part.

    Raises:
        ValueError: It is no image of a kind that models take.
    """
    if isinstance(source, ImagePart):
        return source
    data = source.read_bytes() if isinstance(source, Path) else source
    for signature, start, media_type in _SIGNATURES:
        if data.startswith(signature, start):
            return ImagePart(data=data, media_type=media_type)
    what = str(source) if isinstance(source, Path) else f"{len(data)} bytes"
    raise ValueError(f"{what}: no PNG, JPEG, GIF, WebP, BMP or HEIC image")
