"""Tools: functions a model may call, described by their signature and docstring.

A plain function, an async function, or one with ``@tool`` on it all serve. The arguments
the model writes are read strictly, as an answer is; what does not fit goes back to the
model. The broker calls the tool: async ones on the event loop, others in a worker thread.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, ParamSpec, TypeAlias, TypeVar, cast, overload

import attrs
import cattrs.preconf.json

from agentflow.llm._docstrings import read_docs
from agentflow.llm._errors import SchemaError
from agentflow.llm._fields import REQUIRED, FieldInfo
from agentflow.llm._json import JSON, JSONObject, dumps
from agentflow.llm._messages import ImagePart, TextPart, ToolCall, ToolResult
from agentflow.llm._request import ToolSpec
from agentflow.llm._schema import fields_schema
from agentflow.llm._structure import DoesNotFit, structure

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@attrs.frozen(kw_only=True)
class Tool(Generic[P, R]):
    """A function that a model may call; still callable as the function it is.

    Attributes:
        spec: The tool as the model sees it.
        function: What is called.
        bind: Reads the model's arguments as keyword arguments of ``function``; raises
            DoesNotFit for those that are none.
    """

    spec: ToolSpec
    function: Callable[P, R]
    bind: Callable[[JSONObject], Mapping[str, object]] = attrs.field(repr=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """True if the function runs on the event loop, not in a worker thread."""
        function: object = self.function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - its kind is asked for
        )


AnyTool: TypeAlias = Tool[..., object]
"""A tool, whatever its function takes and gives."""

ToolLike: TypeAlias = AnyTool | Callable[..., object]
"""What may be given as a tool: a Tool, or a function to make one of."""


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a function a tool; a decorator, with or without arguments.

    Args:
        function: The function. Its parameters need annotations; its docstring (Google
            style) describes it and them to the model.
        name: What the model calls it by; the function's name by default.
        description: What it does; the docstring up to its first section by default.

    Returns:
        The tool, or a decorator that makes one.

    Raises:
        SchemaError: A parameter cannot be expressed as JSON Schema.
    """
    if function is None:
        return lambda f: _make(f, name, description)
    return _make(function, name, description)


def as_tools(tools: Iterable[ToolLike]) -> tuple[AnyTool, ...]:
    """Take tools and functions as tools.

    Args:
        tools: Tools and functions, mixed as you like.

    Returns:
        The tools.

    Raises:
        SchemaError: A function cannot be a tool, or two have the same name.
    """
    made: dict[str, AnyTool] = {}
    for item in tools:
        one = cast("AnyTool", item) if isinstance(item, Tool) else _make_plain(item)
        if one.spec.name in made:
            raise SchemaError(f"two tools are named {one.spec.name!r}; rename one")
        made[one.spec.name] = one
    return tuple(made.values())


def _make_plain(function: Callable[..., object]) -> AnyTool:
    """Make a tool of a function as it is."""
    return _make(function, None, None)


def _make(
    function: Callable[P, R], name: str | None, description: str | None
) -> Tool[P, R]:
    """Make a tool of a function."""
    name = name or str(getattr(function, "__name__", ""))
    if not _NAME.fullmatch(name):
        raise SchemaError(
            f"{name or function!r} cannot be the name of a tool; give one with "
            "@tool(name=...): up to 64 letters, digits, '_' and '-'"
        )
    fields = _parameters(function, name)
    docs = read_docs(inspect.getdoc(function))
    spec = ToolSpec(
        name=name,
        description=docs.summary if description is None else description,
        parameters=fields_schema(fields, name),
    )
    types = {field.name: field for field in fields}
    return Tool(spec=spec, function=function, bind=lambda given: _bind(types, given))


def _parameters(function: Callable[..., object], name: str) -> list[FieldInfo]:
    """List what a function takes."""
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except Exception as error:
        raise SchemaError(
            f"tool {name}: its annotations cannot be resolved ({error})"
        ) from error
    docs = read_docs(inspect.getdoc(function))
    return [
        FieldInfo(
            name=parameter.name,
            type=_type_of(parameter, hints, name),
            default=_default_of(parameter),
            description=docs.parts.get(parameter.name, ""),
        )
        for parameter in inspect.signature(function).parameters.values()
    ]


def _type_of(
    parameter: inspect.Parameter, hints: Mapping[str, object], name: str
) -> object:
    """Return a parameter's type."""
    if parameter.kind not in {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }:
        raise SchemaError(
            f"tool {name}: a model cannot give {parameter}; name every parameter"
        )
    if parameter.name not in hints:
        raise SchemaError(f"tool {name}: annotate its parameter {parameter.name!r}")
    return hints[parameter.name]


def _default_of(parameter: inspect.Parameter) -> object:
    """Return a parameter's default, or that there is none."""
    if parameter.default is inspect.Parameter.empty:
        return REQUIRED
    default: object = parameter.default
    return default


def _bind(fields: Mapping[str, FieldInfo], given: JSONObject) -> dict[str, object]:
    """Read the model's arguments as keyword arguments; say all that is wrong."""
    bound: dict[str, object] = {}
    problems = [f"$.{name}: unknown" for name in given if name not in fields]
    for name, field in fields.items():
        if name in given:
            try:
                bound[name] = structure(given[name], field.type)
            except DoesNotFit as error:
                problems += [f"$.{name}{p.removeprefix('$')}" for p in error.problems]
        elif field.required:
            problems.append(f"$.{name}: required, but missing")
    if problems:
        raise DoesNotFit(problems)
    return bound


def bind_call(call: ToolCall, tools: Mapping[str, AnyTool]) -> Mapping[str, object]:
    """Read a model's call as keyword arguments of its tool.

    Args:
        call: The call.
        tools: The tools there are, by name.

    Returns:
        The keyword arguments.

    Raises:
        DoesNotFit: There is no such tool, or the arguments are not what it takes.
    """
    known = tools.get(call.name)
    if known is None:
        names = ", ".join(tools) or "none"
        raise DoesNotFit([f"there is no tool {call.name!r}; there are: {names}"])
    arguments = call.parsed()
    if arguments is None:
        raise DoesNotFit(["the arguments are not a valid JSON object"])
    return known.bind(arguments)


def tool_result(call: ToolCall, value: object) -> ToolResult:
    """Turn what a tool returned into its result.

    Args:
        call: The call it answers.
        value: Text, parts of a message, or anything else, which is written as JSON.

    Returns:
        The result.
    """
    parts = _parts_of(value)
    if parts:
        return ToolResult(call_id=call.id, name=call.name, content=parts)
    if isinstance(value, str | TextPart | ImagePart):
        return ToolResult(call_id=call.id, name=call.name, content=value)
    return ToolResult(call_id=call.id, name=call.name, content=_as_text(value))


def _parts_of(value: object) -> list[TextPart | ImagePart]:
    """Return the parts of a message that a value is a list of; else nothing."""
    if not isinstance(value, list | tuple):
        return []
    items = cast("Sequence[object]", value)
    parts = [x for x in items if isinstance(x, TextPart | ImagePart)]
    return parts if len(parts) == len(items) else []


def tool_error(call: ToolCall, words: str) -> ToolResult:
    """Turn a mistake into a result that the model can mend it by.

    Args:
        call: The call it answers.
        words: What went wrong.

    Returns:
        The result.
    """
    return ToolResult(
        call_id=call.id, name=call.name, content=f"Error: {words}", is_error=True
    )


def _as_text(value: object) -> str:
    """Write a value as JSON; what has no JSON, as Python writes it."""
    try:
        plain: JSON = cattrs.preconf.json.make_converter().unstructure(value)
        return dumps(plain)
    except Exception:  # noqa: BLE001 - any value at all may come
        return str(value)
