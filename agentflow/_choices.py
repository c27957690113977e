"""Which member of a union a value belongs to, and how JSON says so (see `_encoding`)."""

from agentflow._leaves import AnyForm, Mismatch
from agentflow._lenient import type_name
from agentflow._readable import class_of, members

NATIVE: tuple[type, ...] = (type(None), bool, int, float, str)
"""What JSON tells apart by itself."""


class Choices:
    """The members of a union, by the classes of their values."""

    def __init__(self, form: AnyForm) -> None:
        every = members(form)
        rest = [member for member in every if member is not type(None)]
        self.sole: AnyForm = rest[0] if len(rest) == 1 < len(every) else None
        kinds = rest if self.sole is not None else every
        self.by_class: list[tuple[type, AnyForm]] = [
            (class_of(member) or object, member) for member in kinds
        ]
        short = [cls.__qualname__ for cls, _ in self.by_class]
        self.names: dict[type, str] = {
            cls: cls.__qualname__
            if short.count(cls.__qualname__) == 1
            else type_name(cls)
            for cls, _ in self.by_class
        }
        self.text: str = " or ".join(short)

    def class_for(self, value: object) -> type:
        """Return which member a value belongs to.

        Raises:
            Mismatch: To none.
        """
        kinds = [cls for cls, _ in self.by_class]
        if type(value) in kinds:
            return type(value)
        if type(value) is int and float in kinds:
            return float
        for cls in kinds:
            if isinstance(value, cls):
                return cls
        raise Mismatch(
            f"must be {self.text}, not {type(value).__qualname__} {value!r:.100}"
        )
