"""Tracing: what every flow did, kept in memory and ready to be asked."""

from agentflow.tracing._tracer import Tracer as Tracer
from agentflow.tracing._tree import CausalTree as CausalTree, Node as Node
