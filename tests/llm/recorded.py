"""What the tests share that read recorded requests, or spoil recorded answers."""

import json
import random
from typing import Any, TypeGuard

from agentflow.llm._json import InvalidJSON, loads


class Inexpressible(Exception):
    """The request holds what our types have no word for."""


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a value of JSON is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether a value of JSON is a list."""
    return isinstance(value, list)


def without(fields: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Leave out keys, and those that hold nothing."""
    return {k: v for k, v in fields.items() if v is not None and k not in keys}


def arguments_of(arguments: Any) -> Any:
    """Return the arguments of a call as what they mean; broken ones are none."""
    try:
        value: Any = loads(arguments) if isinstance(arguments, str) else arguments
    except InvalidJSON:
        return {}
    return value or {}


JUNK: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "x", [], [1], {}, {"a": 1}, [[]]]


def mangled(value: Any, chance: random.Random, share: float) -> Any:
    """Take keys out of a value, and put nonsense into it."""
    if chance.random() < share:
        return chance.choice(JUNK)
    if is_object(value):
        kept = {k: x for k, x in value.items() if chance.random() > share}
        return {k: mangled(x, chance, share) for k, x in kept.items()}
    return [mangled(x, chance, share) for x in value] if is_list(value) else value


def mangled_body(body: bytes, chance: random.Random) -> bytes:
    """Do so to every line of a body that holds JSON."""
    share = chance.choice((0.002, 0.01, 0.05))
    lines: list[bytes] = []
    for line in body.splitlines():
        head, brace, rest = line.partition(b"{")
        try:
            value = mangled(json.loads(brace + rest), chance, share)
        except ValueError:
            lines.append(line)
        else:
            lines.append(head + json.dumps(value).encode())
    return b"\n".join(lines) + b"\n"
