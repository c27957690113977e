"""Names of a package that are imported when they are first asked for (see PEP 562)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazily(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make what a package needs to import its names when they are asked for.

    Args:
        package: Its full name.
        modules: Modules of the package, and the names that each of them gives it.

    Returns:
        Its ``__getattr__``, its ``__dir__``, and its ``__all__``.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        """Import a name, and keep it."""
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        """List all names, imported or not."""
        return sorted({*vars(sys.modules[package]), *homes})

    return get, list_names, list(homes)
