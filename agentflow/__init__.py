"""agentflow: event-driven agents in structured concurrency, on trio and on asyncio.

General layout:

- values: `_events`, `_records`, `_reports`, `_errors`, `_ids`; as JSON: `_encoding`,
  `_lenient`, `_record_json`
- decisions, which never wait: `_routing`, `_failure`, `_joining`, `_ledger`
- the session: `_engine` (each step), `_workers` (the tasks), `_flow` and `_dispatcher`
- agents: `_agents`, `_aggregator`, `_memory`
- durable sessions: `_durability` (its journal), `_durable` (each step), and neighbours
- the edges are packages of their own: `agentflow.llm`, `agentflow.tracing`,
  `agentflow.testing`, `agentflow.encoding`, `agentflow.journal`, `agentflow.viewer`,
  `agentflow.cli`; `pytest_plugin` has the fixtures

Start reading with `_dispatcher`. `_names` imports each name when it is first asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentflow._agents import (
        BaseAgent as BaseAgent,
        BaseAsyncAgent as BaseAsyncAgent,
    )
    from agentflow._aggregator import AsyncAggregatorAgent as AsyncAggregatorAgent
    from agentflow._dispatcher import AsyncDispatcher as AsyncDispatcher
    from agentflow._dump import (
        RunningHandler as RunningHandler,
        RunningTask as RunningTask,
        SessionDump as SessionDump,
    )
    from agentflow._errors import (
        AgentFlowError as AgentFlowError,
        EncodingError as EncodingError,
        EventTypeError as EventTypeError,
        FlowBudgetExceeded as FlowBudgetExceeded,
        FlowCancelled as FlowCancelled,
        FlowFailed as FlowFailed,
        FlowStalled as FlowStalled,
        HandlerReturnError as HandlerReturnError,
        JournalError as JournalError,
        JournalInUse as JournalInUse,
        NoResult as NoResult,
        QueueFull as QueueFull,
        RestoredError as RestoredError,
        RoutingError as RoutingError,
        SessionError as SessionError,
        UsageError as UsageError,
        WouldDeadlock as WouldDeadlock,
    )
    from agentflow._events import (
        AgentFailed as AgentFailed,
        Event as Event,
        TerminateEvent as TerminateEvent,
    )
    from agentflow._failure import Retry as Retry
    from agentflow._flow import Flow as Flow
    from agentflow._frames import Place as Place
    from agentflow._lenient import JSON as JSON
    from agentflow._memory import SharedWorkingMemory as SharedWorkingMemory
    from agentflow._reports import (
        AgentStatistics as AgentStatistics,
        DispatcherStatistics as DispatcherStatistics,
        FlowStatistics as FlowStatistics,
        StopReport as StopReport,
        Undelivered as Undelivered,
    )
    from agentflow._routing import Route as Route, Router as Router
    from agentflow._waiting import wait_for as wait_for
else:
    from agentflow._names import (
        NAMES as __all__,  # noqa: F401, N811 -- what a star imports
        __dir__ as __dir__,
        __getattr__ as __getattr__,
    )
