"""Sets with a time limit, on SQLite: events that wait in them stay open."""

from agentflow._steps import Answer, Fenced, Joined, Sit
from agentflow.journal._sqlite import Database
from agentflow.journal._sqlite_steps import SQLiteSteps


class SQLiteSits(SQLiteSteps):
    """All steps, on one SQLite file.

    Args:
        files: The file.
    """

    def __init__(self, files: Database) -> None:
        super().__init__(files)
        self._take[Sit] = self._sit

    def _sit(self, owner: int, step: Sit, _now: float) -> Answer:
        event = self._mine(owner, step.key)
        if event is None:
            return Fenced()
        flow, agent = self._holdings.flows[step.key.flow].no, step.key.agent
        known = self.db.execute(
            "SELECT taken_by FROM agentflow_seats "
            "WHERE flow = ? AND agent = ? AND event = ?",
            (flow, agent, event),
        ).fetchone()
        if known is None:
            self._seat(step, flow, event)
        joined = self._members(flow, agent, event)
        if joined.members or (known is not None and known[0] is not None):
            return joined
        if not step.overdue:
            return Joined(members=None)
        self._take_set(step, flow, event, quorum=0)
        return self._members(flow, agent, event)
