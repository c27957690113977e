"""The memory that agents share (A5)."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentflow import (
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Router,
    SessionError,
    SharedWorkingMemory,
)
from tests.fakes import Collector, Ping, router_of


def test_a_snapshot_is_a_copy() -> None:
    """(A5) What is done to a snapshot, or to what was put in, changes nothing."""
    initial = {"user": {"names": ["a"]}}
    memory = SharedWorkingMemory(initial)
    initial["user"]["names"].append("b")
    snapshot = memory.get_working_memory()
    snapshot["user"]["names"].append("c")
    assert memory.get_working_memory() == {"user": {"names": ["a"]}}
    facts = {"list": [1]}
    memory.merge_to_working_memory(facts)
    facts["list"].append(2)
    assert memory.get_working_memory()["list"] == [1]
    assert (
        repr(memory) == "SharedWorkingMemory({'user': {'names': ['a']}, 'list': [1]})"
    )


def test_a_merge_goes_into_nested_mappings() -> None:
    """(A5) Two agents that each add one fact both keep it."""
    memory = SharedWorkingMemory({"user": {"name": "a", "tags": {"x": 1}}, "n": 1})
    memory.merge_to_working_memory({"user": {"age": 3, "tags": {"y": 2}}})
    memory.merge_to_working_memory({"user": {"name": "b"}, "n": {"now": "a mapping"}})
    memory.merge_to_working_memory({"new": {"k": 1}})
    assert memory.get_working_memory() == {
        "user": {"name": "b", "age": 3, "tags": {"x": 1, "y": 2}},
        "n": {"now": "a mapping"},
        "new": {"k": 1},
    }


async def test_transactions_come_one_after_the_other() -> None:
    """(A5) Ten agents that read, wait and write all count."""
    memory = SharedWorkingMemory()

    async def count(event: Ping) -> None:
        async with memory.transaction() as facts:
            before = facts.get("count", 0)
            await anyio.sleep(0.01)
            facts["count"] = before + 1

    async with AsyncDispatcher(router_of((Ping, count))) as dispatcher:
        for _ in range(10):
            dispatcher.dispatch(Ping(source="x"))
    assert memory.get_working_memory() == {"count": 10}


async def test_a_transaction_that_raises_changes_nothing() -> None:
    """(A5) Neither does one that is cancelled; the next one goes ahead."""
    memory = SharedWorkingMemory({"a": 1})
    with pytest.raises(KeyError):
        async with memory.transaction() as facts:
            facts["a"] = 2
            raise KeyError
    with anyio.move_on_after(0.1):
        async with memory.transaction() as facts:
            facts["a"] = 3
            await anyio.sleep_forever()
    async with memory.transaction() as facts:
        facts["b"] = facts["a"]
    assert memory.get_working_memory() == {"a": 1, "b": 1}


async def test_a_transaction_may_remove_facts() -> None:
    """(A5) What the block removed is gone, nested facts included."""
    memory = SharedWorkingMemory({"a": 1, "b": {"c": 2, "d": 3}})
    async with memory.transaction() as facts:
        del facts["a"]
        del facts["b"]["c"]
    assert memory.get_working_memory() == {"b": {"d": 3}}


async def test_what_is_merged_during_a_transaction_stays() -> None:
    """(A5) The transaction writes what it changed, and nothing else."""
    memory = SharedWorkingMemory({"user": {"a": 0}, "n": 1, "gone": 1})
    async with memory.transaction() as facts:
        facts["user"]["a"] = 1
        facts["mine"] = 1
        del facts["gone"]
        memory.merge_to_working_memory({
            "user": {"a": 5, "b": 2},
            "yours": 2,
            "n": 3,
            "gone": 2,
        })
        assert "yours" not in facts
    assert memory.get_working_memory() == {
        "user": {"a": 1, "b": 2},
        "mine": 1,
        "yours": 2,
        "n": 3,
    }


async def test_waiting_for_facts() -> None:
    """(A5) wait_for returns a copy as soon as a merge or a transaction satisfies it."""
    memory = SharedWorkingMemory()
    results: dict[str, dict[str, Any]] = {}

    async def wait(key: str) -> None:
        results[key] = await memory.wait_for(lambda facts: key in facts)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "merged")
        tasks.start_soon(wait, "written")
        await anyio.wait_all_tasks_blocked()
        memory.merge_to_working_memory({"merged": 1})
        await anyio.wait_all_tasks_blocked()
        assert set(results) == {"merged"}
        async with memory.transaction() as facts:
            facts["written"] = 2
    assert results == {"merged": {"merged": 1}, "written": {"merged": 1, "written": 2}}
    results["written"]["written"] = "changed"
    assert memory.get_working_memory()["written"] == 2
    assert await memory.wait_for(lambda facts: True) == {"merged": 1, "written": 2}


async def test_a_cancelled_wait_leaves_nothing() -> None:
    """(A5) Neither a waiter nor a change."""
    memory = SharedWorkingMemory()
    with anyio.move_on_after(0.1) as scope:
        await memory.wait_for(lambda facts: False)
    assert scope.cancelled_caught
    assert not memory._waiting


class Reader(BaseAsyncAgent):
    def __init__(self) -> None:
        self.seen: list[SharedWorkingMemory] = []

    async def receive_event_async(self, event: Ping) -> None:
        await checkpoint()
        self.seen.append(self.shared_working_memory)


class ThreadReader(BaseAgent):
    def __init__(self) -> None:
        self.seen: list[SharedWorkingMemory] = []

    def receive_event(self, event: Ping) -> None:
        self.seen.append(self.shared_working_memory)


async def test_the_dispatcher_and_its_agents_see_the_same_memory() -> None:
    """(A5) In threads, too; and each session has its own."""
    memory = SharedWorkingMemory()
    reader, thread_reader = Reader(), ThreadReader()
    router = Router({Ping: [reader, thread_reader]})
    async with AsyncDispatcher(router, shared_working_memory=memory) as first:
        first.dispatch(Ping(source="x"))
        async with AsyncDispatcher(router) as second:
            second.dispatch(Ping(source="x"))
            await second.wait_for_empty_queue()
            await first.wait_for_empty_queue()
            assert first.shared_working_memory is memory
            expected = {id(memory), id(second.shared_working_memory)}
    assert {id(m) for m in reader.seen} == expected
    assert {id(m) for m in thread_reader.seen} == expected


@pytest.mark.parametrize("agent", [Collector(), ThreadReader()])
def test_outside_of_a_session_there_is_none(agent: BaseAsyncAgent | BaseAgent) -> None:
    """(A5) The error says when there is one."""
    with pytest.raises(SessionError, match=f"{agent.name} has a shared_working_memory"):
        _ = agent.shared_working_memory
