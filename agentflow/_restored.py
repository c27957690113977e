"""Exceptions read back from JSON, as far as that is possible without importing anything.

An exception of Python's own, or of agentflow's, is made again from its arguments where they
are plain values. Any other becomes an instance of `RestoredError`, of a subclass that has
the name of the original, so that what prints it still says what it was.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from agentflow import _errors
from agentflow._errors import RestoredError
from agentflow._leaves import AnyForm, must
from agentflow._lenient import JSON, error_as_json, int_as_json

_PLAIN = (str, int, float, bool, type(None))


def lossless_error(error: BaseException) -> JSON:
    """Return an exception as JSON, with the arguments that can be read back."""
    written = error_as_json(must(error, BaseException, "an exception"))
    if isinstance(written, dict) and all(type(arg) in _PLAIN for arg in error.args):
        written["args"] = [
            int_as_json(arg) if type(arg) is int else repr_of_float(arg)
            for arg in error.args
        ]
    return written


def repr_of_float(value: Any) -> JSON:  # noqa: ANN401 -- any plain value
    """Return a plain value, a float that JSON has no number for as text."""
    is_odd = isinstance(value, float) and value - value != 0
    return repr(value) if is_odd else cast("JSON", value)


def error_from_json(data: Any, _form: AnyForm = None) -> BaseException:  # noqa: ANN401 -- whatever was written
    """Return an exception that says what the written one said.

    Args:
        data: What `error_as_json` or `lossless_error` returned.

    Returns:
        The exception, with its notes, its cause and, of a group, its members.
    """
    fields = cast("Mapping[str, Any]", must(data, dict, "an error"))
    error = _made_again(fields) or _stand_in(fields)
    for note in cast("Sequence[object]", fields.get("notes") or ()):
        error.add_note(str(note))
    if isinstance(cause := fields.get("cause"), dict):
        error.__cause__ = error_from_json(cause)
    return error


def _made_again(fields: Mapping[str, Any]) -> BaseException | None:
    module, _, name = str(fields.get("type")).partition(":")
    place = {"builtins": builtins, _errors.__name__: _errors}.get(module)
    cls: Any = getattr(place, name, None)
    if not (isinstance(cls, type) and issubclass(cls, BaseException)):
        return None
    arguments: Sequence[Any] | None = fields.get("args")
    if issubclass(cls, BaseExceptionGroup):
        shown = [m for m in fields.get("exceptions") or () if "type" in m]
        parts = [error_from_json(member) for member in shown]
        arguments = (str(fields.get("message")).rsplit(" (", 1)[0], parts)
    if arguments is None:
        return None
    make = cast("Callable[..., BaseException]", cls)
    try:
        return make(*arguments)
    except Exception:  # noqa: BLE001 -- a constructor may want anything
        return None


def _stand_in(fields: Mapping[str, Any]) -> RestoredError:
    error = _class_called(str(fields.get("type")))(str(fields.get("message", "")))
    error.traceback_text = str(fields.get("traceback", ""))
    return error


@lru_cache(maxsize=1_024)
def _class_called(name: str) -> type[RestoredError]:
    module, _, path = name.partition(":")
    body = {"__module__": module, "__qualname__": path, "type_name": name}
    return type(path.rpartition(".")[2], (RestoredError,), body)
