"""Asking for an answer of a given type, in the way the provider is good at."""

from typing import Generic, TypeVar

import attrs

from agentflow.llm._json import JSON, JSONObject, dumps
from agentflow.llm._messages import LLMMessage, Role
from agentflow.llm._request import (
    ForcedTool,
    OutputMode,
    Request,
    ResponseSchema,
    ToolChoice,
    ToolSpec,
)
from agentflow.llm._schema import class_schema, name_of
from agentflow.llm._structure import structure
from agentflow.llm._turn import Goal

S = TypeVar("S")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ObjectModel(Generic[T]):
    """A class that an answer shall be an instance of, with its schema.

    Attributes:
        cls: The class.
        name: Its name, as providers take one.
        schema: Its JSON Schema.
    """

    cls: type[T]
    name: str
    schema: JSONObject = attrs.field(repr=False)

    @classmethod
    def of(cls, model: type[S]) -> "ObjectModel[S]":
        """Look at a class.

        Args:
            model: An attrs class, dataclass, TypedDict or pydantic model.

        Returns:
            The class with its schema.

        Raises:
            SchemaError: It cannot be expressed as JSON Schema; class and field are named.
        """
        return ObjectModel(
            cls=model, name=name_of(model)[:64], schema=class_schema(model)
        )

    def read(self, value: JSON) -> T:
        """Read JSON as an instance.

        Args:
            value: The parsed JSON.

        Returns:
            The instance.

        Raises:
            DoesNotFit: The JSON does not fit.
        """
        return structure(value, self.cls)

    def goal(self, mode: OutputMode) -> Goal:
        """Say what a turn must come to."""
        tool_name = self.name if mode is OutputMode.TOOL else None
        return Goal(read=self.read, tool_name=tool_name)

    def ask(self, request: Request, mode: OutputMode) -> Request:
        """Put the class into a request.

        Args:
            request: The request without it.
            mode: How the provider is best brought to it.

        Returns:
            The request with it.
        """
        if mode is OutputMode.NATIVE:
            response = ResponseSchema(name=self.name, schema=self.schema)
            return attrs.evolve(request, response_schema=response)
        if mode is OutputMode.TOOL:
            spec = ToolSpec(
                name=self.name,
                description="Gives the answer. Call it once, when you are done.",
                parameters=self.schema,
            )
            # With tools of the user's in play, the model must be free to call them first.
            forced = ToolChoice.REQUIRED if request.tools else ForcedTool(self.name)
            tools = (*request.tools, spec)
            return attrs.evolve(request, tools=tools, tool_choice=forced)
        told = LLMMessage(
            role=Role.SYSTEM,
            content="Answer with a JSON object and nothing else. It must fit this JSON "
            f"Schema:\n{dumps(self.schema)}",
        )
        return attrs.evolve(request, messages=(told, *request.messages))
