"""Failures of flows that have no owner, kept for whoever asks first (rule F3)."""

from collections.abc import Sequence

from agentflow._errors import FlowFailed
from agentflow._events import AgentFailed

KEPT_FAILURES = 100
"""How many failures nobody asked for a session keeps; the rest it counts."""


class Unclaimed:
    """The failures nobody has asked for yet."""

    def __init__(self) -> None:
        self._kept: list[AgentFailed] = []
        self._uncounted = 0

    def add(self, failures: Sequence[AgentFailed]) -> None:
        """Keep what failed in a flow, up to the bound, and count the rest."""
        room = KEPT_FAILURES - len(self._kept)
        self._kept += failures[:room]
        self._uncounted += len(failures[room:])

    def claim(self, correlation_id: str | None = None) -> FlowFailed | None:
        """Take over what failed in one flow, or in all; None if nothing did."""
        if correlation_id is None:
            mine, self._kept = self._kept, []
            unlisted, self._uncounted = self._uncounted, 0
        else:
            mine = [f for f in self._kept if f.correlation_id == correlation_id]
            self._kept = [f for f in self._kept if f not in mine]
            unlisted = 0
        if not mine and not unlisted:
            return None
        return FlowFailed.of(mine, unlisted=unlisted)
