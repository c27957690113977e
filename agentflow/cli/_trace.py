"""`agentflow trace`: what a trace file says, in the terminal or as JSON."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from agentflow._errors import EncodingError
from agentflow._records import Record
from agentflow.cli._digest import (
    AgentDigest,
    FailureDigest,
    FlowDigest,
    ModelDigest,
    Span,
    digest_agents,
    digest_failures,
    digest_flows,
    digest_models,
    digest_slowest,
)
from agentflow.cli._exits import DONE, CommandUsageError
from agentflow.cli._screen import Grid, Screen
from agentflow.cli._words import count, one_line, seconds
from agentflow.tracing import CausalTree, Node, ReadTrace, read_trace

View: TypeAlias = Literal["summary", "tree", "slowest", "errors"]

_WIDE = 120
"""Characters of an error that are shown in a table."""


def trace(
    file: Path,
    view: View = "summary",
    /,
    *,
    flow: str | None = None,
    limit: int = 20,
    json: bool = False,
) -> int:
    """Show what a trace file says: how flows, agents and models did, and what failed.

    The views: "summary" of flows, agents and models; the causal "tree" of each flow, which
    says which event led to which and who handled it; the "slowest" handlers, calls of
    models and calls of tools; "errors" with their tracebacks. Files that have been
    rotated away are read along.

    Exit codes: 0 done, 2 the command line is wrong, or this is no trace file.

    Args:
        file: What agentflow run --trace or open_trace_file() has written.
        view: What to show.
        flow: Only this flow; the beginning of its id is enough.
        limit: How many flows, or how many of the slowest, are shown.
        json: Write JSON, one object, for programs.

    Returns:
        The exit code.

    Raises:
        CommandUsageError: It is no trace file, or has no such flow.
    """
    read = _read(file)
    chosen = None if flow is None else _find(read, flow)
    shown = _Shown(
        read=read,
        screen=Screen(),
        flow=chosen,
        limit=limit,
        records=read.records(correlation_id=chosen),
    )
    if json:
        shown.write_json(view)
    else:
        {
            "summary": shown.summary,
            "tree": shown.tree,
            "slowest": shown.slowest,
            "errors": shown.errors,
        }[view]()
    if read.lost or read.skipped:
        Screen().note(
            f"{count(read.lost, 'record')} missing, because they came faster than the disk "
            f"took them; {count(read.skipped, 'line')} not understood"
        )
    return DONE


def _read(file: Path) -> ReadTrace:
    try:
        return read_trace(file)
    except OSError as error:
        raise CommandUsageError(f"cannot read {file}: {error.strerror}") from error
    except EncodingError as error:
        raise CommandUsageError(str(error)) from error


def _find(read: ReadTrace, beginning: str) -> str:
    """Find a flow by the beginning of its id."""
    found = [flow for flow in read.flows() if flow.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    few = ", ".join(found[:5])
    raise CommandUsageError(
        f"{count(len(found), 'flow')} begin with {beginning!r}: {few}"
        if found
        else f"there is no flow {beginning!r} in this file; see agentflow trace FILE"
    )


@attrs.frozen(kw_only=True)
class _Shown:
    """The views of one trace."""

    read: ReadTrace
    screen: Screen
    flow: str | None
    limit: int
    records: Sequence[Record]

    # -- for people -------------------------------------------------------------------

    def summary(self) -> None:
        """Tell of flows, agents and models."""
        flows = digest_flows(self.records)
        self.screen.say(self._headline(flows))
        self._table("flow", [_flow_row(flow) for flow in self._worst(flows)])
        if len(flows) > self.limit:
            self.screen.say(f"... and {len(flows) - self.limit:,} more; see --limit")
        self._table("agent", map(_agent_row, digest_agents(self.records)))
        self._table("model", map(_model_row, digest_models(self.records)))
        failures = digest_failures(self.records)
        self._table("error", map(_failure_row, failures[: self.limit]))

    def tree(self) -> None:
        """Draw the causal trees."""
        flows = [self.flow] if self.flow else list(self.read.flows())
        for flow in flows[: self.limit]:
            self.screen.say(str(self.read.tree(flow)))
        if len(flows) > self.limit:
            self.screen.say(f"... and {len(flows) - self.limit:,} more; see --limit")

    def slowest(self) -> None:
        """List what took longest."""
        spans = digest_slowest(self.records, self.limit)
        self._table("slowest", map(_span_row, spans))

    def errors(self) -> None:
        """Tell of every error with all that is known of it."""
        failures = digest_failures(self.records)
        self.screen.say(count(len(failures), "error"))
        for failure in failures:
            where = "" if failure.kind == "handler" else f" in {failure.agent}"
            came = f", {failure.consequence}" if failure.consequence else ""
            self.screen.say(
                f"\nflow {failure.flow} at {seconds(failure.time)}: {failure.kind} "
                f"{failure.name}{where} with {failure.event}{came}",
                style="bold",
            )
            self.screen.say(failure.error, style="red")
            for text in (*failure.notes, failure.traceback):
                self.screen.say("\n".join(f"  {x}" for x in text.splitlines()))

    def _headline(self, flows: Sequence[FlowDigest]) -> str:
        records, header = self.records, self.read.header
        took = records[-1].time - records[0].time if records else 0.0
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.wall))
        outcomes: dict[str, int] = {}
        for flow in flows:
            outcomes[flow.outcome] = outcomes.get(flow.outcome, 0) + 1
        how = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
        return (
            f"{count(len(flows), 'flow')} ({how or 'none'}), "
            f"{count(len(records), 'record')} in {seconds(took)}; written from {when} by "
            f"agentflow {header.agentflow}"
        )

    def _worst(self, flows: Sequence[FlowDigest]) -> Sequence[FlowDigest]:
        """Choose those worth a look where there are too many, and keep their order."""
        if len(flows) <= self.limit:
            return flows
        worst = sorted(flows, key=lambda flow: (-flow.errors, -flow.duration))
        return sorted(worst[: self.limit], key=lambda flow: flow.began)

    def _table(self, kind: str, rows: Iterable[Sequence[str]]) -> None:
        cells = list(rows)
        if cells:
            self.screen.say("")
            self.screen.table(Grid(heads=_HEADS[kind], rows=cells))

    # -- for programs -----------------------------------------------------------------

    def write_json(self, view: View) -> None:
        """Write a view as an object."""
        makers: Mapping[View, Callable[[], Mapping[str, object]]] = {
            "summary": self._summary_json,
            "tree": lambda: {
                "trees": [
                    _tree_json(self.read.tree(flow))
                    for flow in ([self.flow] if self.flow else self.read.flows())
                ]
            },
            "slowest": lambda: {
                "slowest": _plain(digest_slowest(self.records, self.limit))
            },
            "errors": lambda: {"errors": _plain(digest_failures(self.records))},
        }
        self.screen.raw(json.dumps(makers[view](), indent=2) + "\n")

    def _summary_json(self) -> Mapping[str, object]:
        return {
            "header": attrs.asdict(self.read.header),
            "records": len(self.records),
            "lost": self.read.lost,
            "skipped": self.read.skipped,
            "flows": _plain(digest_flows(self.records)),
            "agents": _plain(digest_agents(self.records)),
            "models": _plain(digest_models(self.records)),
        }


_HEADS: Mapping[str, Sequence[str]] = {
    "flow": (
        *("flow", "begins with", "outcome"),
        *(">duration", ">events", ">errors", ">tokens", "why"),
    ),
    "agent": (
        *("agent", ">handled", ">errors", ">cancelled"),
        *(">total", ">median", ">slowest", ">tokens"),
    ),
    "model": (
        *("model", ">calls", ">errors", ">tokens in", ">tokens out"),
        *(">total", ">slowest"),
    ),
    "error": (">at", "flow", "where", "error"),
    "slowest": (">duration", ">at", "what", "in", "flow"),
}


def _flow_row(flow: FlowDigest) -> Sequence[str]:
    return (
        flow.flow,
        flow.root,
        flow.outcome,
        seconds(flow.duration),
        f"{flow.events:,}",
        f"{flow.errors:,}",
        f"{flow.tokens:,}",
        one_line(flow.reason, _WIDE),
    )


def _agent_row(agent: AgentDigest) -> Sequence[str]:
    return (
        agent.agent,
        f"{agent.handled:,}",
        f"{agent.errors:,}",
        f"{agent.cancelled:,}",
        seconds(agent.total),
        seconds(agent.median),
        seconds(agent.slowest),
        f"{agent.tokens:,}",
    )


def _model_row(model: ModelDigest) -> Sequence[str]:
    return (
        f"{model.provider}:{model.model}",
        f"{model.calls:,}",
        f"{model.errors:,}",
        f"{model.input_tokens:,}",
        f"{model.output_tokens:,}",
        seconds(model.total),
        seconds(model.slowest),
    )


def _failure_row(failure: FailureDigest) -> Sequence[str]:
    return (
        seconds(failure.time),
        failure.flow,
        f"{failure.kind} {failure.name}",
        one_line(failure.error, _WIDE),
    )


def _span_row(span: Span) -> Sequence[str]:
    where = span.event if span.kind == "handler" else f"{span.agent}, {span.event}"
    return (
        seconds(span.duration),
        seconds(span.began),
        f"{span.kind} {span.name}",
        where,
        span.flow,
    )


def _plain(values: Iterable[attrs.AttrsInstance]) -> list[dict[str, object]]:
    return [attrs.asdict(value) for value in values]


def _tree_json(tree: CausalTree) -> Mapping[str, object]:
    return {
        "flow": tree.correlation_id,
        "outcome": tree.end.outcome if tree.end else "running",
        "roots": [_node_json(root) for root in tree.roots],
    }


def _node_json(node: Node) -> Mapping[str, object]:
    """Write an event with all below it, however deep."""
    top: list[dict[str, object]] = []
    path: list[list[dict[str, object]]] = [top]
    for depth, one in node.walk():
        children: list[dict[str, object]] = []
        written: dict[str, object] = {
            "event": type(one.event).__name__,
            "id": one.event.id,
            "agents": list(one.agents),
            "what": one.describe(),
            "children": children,
        }
        del path[depth + 1 :]
        path[depth].append(written)
        path.append(children)
    return top[0]
