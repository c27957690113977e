"""Tracing: what every flow did, kept in memory or in files, and ready to be asked."""

from agentflow.tracing._chrome import (
    chrome_trace as chrome_trace,
    write_chrome_trace as write_chrome_trace,
)
from agentflow.tracing._file import (
    TraceFile as TraceFile,
    open_trace_file as open_trace_file,
)
from agentflow.tracing._reading import (
    ReadTrace as ReadTrace,
    TraceHeader as TraceHeader,
    read_trace as read_trace,
)
from agentflow.tracing._tracer import Tracer as Tracer
from agentflow.tracing._tree import CausalTree as CausalTree, Node as Node
