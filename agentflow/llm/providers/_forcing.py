"""Forcing a tool where the API, or the server behind it, takes no name for it."""

import attrs

from agentflow.llm._errors import ConfigurationError
from agentflow.llm._request import ForcedTool, Request, ToolChoice


def offer_alone(request: Request) -> Request:
    """Offer a tool that must be called alone, so that it need not be named.

    Args:
        request: What to ask.

    Returns:
        A request in which some tool must be called, and there is one; the request itself
        if none is forced by name.

    Raises:
        ConfigurationError: The tool is not among those of the request.
    """
    forced = request.tool_choice
    if not isinstance(forced, ForcedTool):
        return request
    tools = [x for x in request.tools if x.name == forced.name]
    if not tools:
        raise ConfigurationError(
            f"tool_choice names {forced.name!r}, which is none of the tools given: "
            f"{', '.join(x.name for x in request.tools) or 'none'}"
        )
    return attrs.evolve(request, tools=tools, tool_choice=ToolChoice.REQUIRED)
