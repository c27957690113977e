"""MODULE:NAME on the command line, and the object it stands for."""

import importlib
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TypeGuard, TypeVar

from agentflow.cli._exits import CommandUsageError
from agentflow.cli._words import one_line

T = TypeVar("T")


def load(target: str) -> object:
    """Import what a target names, looking in the current directory first.

    Args:
        target: "MODULE:NAME"; both may have dots.

    Returns:
        The object.

    Raises:
        CommandUsageError: There is no such module or name, or importing it failed.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise CommandUsageError(
            f"{target!r} is no target; write MODULE:NAME, as in agentflow.demo:flow"
        )
    if "/" in module_name or module_name.endswith(".py"):
        path = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise CommandUsageError(
            f"name the module, not its file: {path}:{name} (it is looked for in the "
            "current directory first)"
        )
    found: object = _import(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise CommandUsageError(_no_such(found, module_name, part))
        found = getattr(found, part)
    return found


def load_kind(target: str, is_kind: Callable[[object], TypeGuard[T]], kind: str) -> T:
    """Import what a target names, and refuse what is of another kind.

    Args:
        target: As for `load`.
        is_kind: Recognizes the kind.
        kind: What to call it.

    Returns:
        The object.

    Raises:
        CommandUsageError: As `load`, or it is something else.
    """
    found = load(target)
    if not is_kind(found):
        raise CommandUsageError(f"{target} is {_a(found)}, not {kind}")
    return found


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise CommandUsageError(_failed(name, error)) from error
        near = get_close_matches(name, [path.stem for path in Path(here).glob("*.py")])
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CommandUsageError(
            f"there is no module {error.name!r}, neither in {here} nor installed{hint}"
        ) from error
    except Exception as error:
        raise CommandUsageError(_failed(name, error)) from error


def _failed(name: str, error: Exception) -> str:
    """Say where in the user's files an import broke."""
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}, line {frame.lineno}"
    words = one_line(error.msg if isinstance(error, SyntaxError) else str(error))
    return f"importing {name} failed: {type(error).__name__}: {words} ({where})"


def _no_such(holder: object, module_name: str, name: str) -> str:
    names = [n for n in dir(holder) if not n.startswith("_")]
    near = get_close_matches(name, names)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{module_name} has no {name!r}{hint}"


def _a(found: object) -> str:
    """Name what was found, with its article."""
    if isinstance(found, ModuleType):
        return "a module"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if callable(found):
        return f"the function {getattr(found, '__name__', found)!s}"
    name = type(found).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
