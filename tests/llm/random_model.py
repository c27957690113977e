"""A language model of random weights, small enough to be written for a test.

It answers with nonsense, but at twenty thousand tokens a second: what takes time then is
all around the model. The file format is
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

import random
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path

_WIDTH = 32
_HEADS = 2
_INNER = 64
_SPECIAL = [b"<unk>", b"<s>", b"</s>"]
_TOKENS = [*_SPECIAL, *(f"<0x{byte:02X}>".encode() for byte in range(256))]
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6  # kinds of tokens
_KINDS = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd": (_WIDTH, len(_TOKENS)),
    "output": (_WIDTH, len(_TOKENS)),
    "output_norm": (_WIDTH,),
    "blk.0.attn_norm": (_WIDTH,),
    "blk.0.ffn_norm": (_WIDTH,),
    "blk.0.attn_q": (_WIDTH, _WIDTH),
    "blk.0.attn_k": (_WIDTH, _WIDTH),
    "blk.0.attn_v": (_WIDTH, _WIDTH),
    "blk.0.attn_output": (_WIDTH, _WIDTH),
    "blk.0.ffn_gate": (_WIDTH, _INNER),
    "blk.0.ffn_up": (_WIDTH, _INNER),
    "blk.0.ffn_down": (_INNER, _WIDTH),
}


def _text(text: bytes) -> bytes:
    """Write a string."""
    return struct.pack("<Q", len(text)) + text


def _field(name: bytes, value: object) -> bytes:
    """Write a field of the description, whose type is that of the value."""
    head = _text(name)
    match value:
        case bytes():
            return head + struct.pack("<I", _STRING) + _text(value)
        case float():
            return head + struct.pack("<If", _FLOAT32, value)
        case int():
            return head + struct.pack("<II", _UINT32, value)
        case _:
            raise TypeError(f"{value!r} has no type here")


def _list(name: bytes, kind: int, items: Sequence[bytes]) -> bytes:
    """Write a field that holds several values, each written already."""
    head = struct.pack("<IIQ", _ARRAY, kind, len(items))
    return _text(name) + head + b"".join(items)


def _description() -> list[bytes]:
    """Write what the file says of the model and of its tokens."""
    fields: dict[bytes, object] = {
        b"general.architecture": b"llama",
        b"llama.context_length": 4096,
        b"llama.embedding_length": _WIDTH,
        b"llama.block_count": 1,
        b"llama.feed_forward_length": _INNER,
        b"llama.attention.head_count": _HEADS,
        b"llama.attention.head_count_kv": _HEADS,
        b"llama.attention.layer_norm_rms_epsilon": 1e-5,
        b"llama.rope.dimension_count": _WIDTH // _HEADS,
        b"llama.vocab_size": len(_TOKENS),
        b"tokenizer.ggml.model": b"llama",
        b"tokenizer.ggml.unknown_token_id": 0,
        b"tokenizer.ggml.bos_token_id": 1,
        b"tokenizer.ggml.eos_token_id": 2,
    }
    kinds = [struct.pack("<i", kind) for kind in _KINDS]
    scores = [struct.pack("<f", 0)] * len(_TOKENS)
    return [
        *(_field(name, value) for name, value in fields.items()),
        _list(b"tokenizer.ggml.tokens", _STRING, [_text(token) for token in _TOKENS]),
        _list(b"tokenizer.ggml.scores", _FLOAT32, scores),
        _list(b"tokenizer.ggml.token_type", _INT32, kinds),
    ]


def _padded(data: bytes) -> bytes:
    """Fill up to where the next tensor may begin."""
    return data + bytes(-len(data) % _ALIGNMENT)


def write_random_model(path: Path, seed: int = 0) -> None:
    """Write a model whose weights follow from a seed."""
    chance = random.Random(seed)
    infos: list[bytes] = []
    data = b""
    for name, shape in _SHAPES.items():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        is_norm = len(shape) == 1
        weights = [1.0 if is_norm else chance.gauss(0, 0.3) for _ in range(size)]
        place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        infos.append(_text(f"{name}.weight".encode()) + place)
        data += _padded(array("f", weights).tobytes())
    fields = _description()
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(fields))
    path.write_bytes(_padded(head + b"".join(fields + infos)) + data)
