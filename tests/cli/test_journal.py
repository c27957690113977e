"""`agentflow journal`, on files that real sessions have written, or are writing."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agentflow import AsyncDispatcher
from agentflow._steps import Append, Entry
from agentflow.cli._app import COMMANDS, GROUPS
from agentflow.journal import SQLiteJournal
from agentflow.journal._sqlite_store import SQLiteStore
from tests.cli.conftest import Command
from tests.cli.durable_shop import ITEMS, Answer, order, shop
from tests.cli.journals import Make, again, as_json, living, refused, shown
from tests.journal.lives import finish

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def test_the_list_has_open_flows_first(make: Make, command: Command) -> None:
    """With what they began with, how they stand, and why they ended."""
    head, _, heads, *rows = shown(command, "list", make()).splitlines()
    assert head.startswith("7 flows (4 open, ")
    assert "1 failed" in head
    assert head.endswith("; no session has the file")
    assert heads.split()[:3] == ["flow", "begins", "with"]
    cells = {row.split()[0]: row.split() for row in rows}
    assert list(cells)[:4] == ["late-1", "pair-1", "half-1", "tent-1"]
    assert cells["tent-1"][1:6] == ["Order", "open", "1", "0", "2"]
    assert cells["glass-1"][1:6] == ["Order", "failed", "0", "2", "1"]
    assert cells["cash-1"][2] == "done"
    assert cells["late-1"][1] == "Preorder"
    (row,) = [row for row in rows if row.startswith("glass-1")]
    assert row.rstrip().endswith("sell raised ValueError: it broke")
    assert re.search(rf"{MOMENT} +[\d.]+ ms", row)


def test_the_list_can_be_cut_down(make: Make, command: Command) -> None:
    """To a status, and to so many; what is left out is counted."""
    path = make()
    out = shown(command, "list", path, "--status", "open", "--limit", 1)
    assert "late-1" in out
    assert "tent-1" not in out
    assert out.endswith("... and 3 more; see --limit\n")
    assert "more" not in shown(command, "list", path, "--status", "failed")
    none = shown(command, "list", path, "--status", "cancelled")
    assert none.startswith("7 flows")
    assert "begins with" not in none


def test_an_empty_journal_has_no_flows(make: Make, command: Command) -> None:
    """It is one nevertheless."""
    path = make("cash")
    shown(command, "drop", path, "cash-1")
    assert shown(command, "list", path) == "0 flows (none); no session has the file\n"
    assert shown(command, "dead", path) == "0 dead letters\n"
    assert shown(command, "retry", path, "--all") == ""


def test_the_list_for_programs_has_all_flows(make: Make, command: Command) -> None:
    """Whatever the limit."""
    told = as_json(command, "list", make(), "--limit", 1)
    assert told["in_use"] is False
    flows = {flow["id"]: flow for flow in told["flows"]}
    assert set(flows) == {f"{item}-1" for item in ITEMS}
    glass = flows["glass-1"]
    assert (glass["status"], glass["dead"], glass["open"]) == ("failed", 2, 0)
    assert glass["kind"] == "tests.cli.durable_shop:Order@1"


def test_dead_letters_are_told_with_their_history(make: Make, command: Command) -> None:
    """Each attempt of the one that failed, and that the other only waited."""
    out = shown(command, "dead", make())
    assert out.startswith(
        "2 dead letters\n\nflow glass-1: sell raised ValueError: it broke"
    )
    assert re.search(r"sell with Order \S+\n  \{\"item\": \"glass\"\}\n", out)
    for attempt in (1, 2):
        told = rf"  attempt {attempt} failed at {MOMENT}: ValueError: it broke\n"
        assert re.search(told, out)
    assert "    raised by agent 'sell' while it handled Order" in out
    assert re.search(
        r"audit with Order \S+\n  .*glass.*\n  it only waited in that flow", out
    )


def test_dead_letters_of_one_flow_and_for_programs(
    make: Make, command: Command
) -> None:
    """Each with the event as it is stored."""
    path = make()
    assert shown(command, "dead", path, "--flow", "tent") == "0 dead letters\n"
    letters = as_json(command, "dead", path, "--flow", "gl")["dead_letters"]
    assert {letter["agent"] for letter in letters} == {"sell", "audit"}
    (sold,) = [letter for letter in letters if letter["agent"] == "sell"]
    assert [failure["attempt"] for failure in sold["history"]] == [1, 2]
    assert sold["stored"]["fields"] == {"item": "glass"}
    assert sold["flow"] == "glass-1"


def test_an_open_flow_is_shown_with_what_it_waits_for(
    make: Make, command: Command
) -> None:
    """Events in order, who has them, and what their handlers have kept."""
    out = shown(command, "show", make(), "tent")
    first, second = out.split("\n\n")[1:]
    assert out.startswith("flow tent-1: open\nbegan ")
    assert "; 2 events, 1 open\n" in out
    assert re.match(r"1\. Order \S+ from shop\n   \{\"item\": \"tent\"\}\n", first)
    assert "   sell: open, waits\n     kept charge = 310\n" in first
    assert "     came to its wait number 1" in first
    assert re.match(r"2\. Question \S+ from sell, of 1\n", second)


def test_an_agent_that_emitted_something_is_shown_as_done(
    make: Make, command: Command
) -> None:
    """Also of a flow that is over, when the deliveries are gone."""
    out = shown(command, "show", make(), "cash-1")
    assert re.search(
        r"flow cash-1: done\nbegan .*, took [\d.]+ m?s; 2 events, 0 open", out
    )
    assert "   sell: done\n" in out


def test_a_failed_and_a_terminated_flow_say_why(make: Make, command: Command) -> None:
    """With the failures, and with the event that did it."""
    path = make()
    out = shown(command, "show", path, "glass")
    assert "why: sell raised ValueError: it broke\n" in out
    assert re.search(rf"   sell: dead letter\n     attempt 1 failed at {MOMENT}", out)
    assert "   audit: dead letter" in out
    out = shown(command, "show", path, "nothing")
    assert re.search(r"TerminateEvent \S+ from sell, of 1; it ends the flow", out)


def test_what_aggregators_have_is_shown(make: Make, command: Command) -> None:
    """Whether a set is complete."""
    path = make()
    assert "   Packer: in a set that is not complete" in shown(
        command, "show", path, "half"
    )
    assert shown(command, "show", path, "pair").count("   Packer: in a set\n") == 2


def test_a_retry_that_is_due_later_is_shown(make: Make, command: Command) -> None:
    """With the attempt, and the time."""
    out = shown(command, "show", make(), "late")
    told = rf"reserve: open, waits, attempt 2 comes next, due at {MOMENT}\n"
    assert re.search(told, out)
    assert re.search(rf"attempt 1 failed at {MOMENT}: LookupError: late", out)


def test_a_flow_for_programs_has_all_that_is_known(
    make: Make, command: Command
) -> None:
    """Events, deliveries, failures and sets."""
    path = make()
    told = as_json(command, "show", path, "half")
    assert told["flow"]["status"] == "open"
    first, *_, last = told["events"]
    assert set(first["agents"]) == {"sell"}
    assert first["stored"]["fields"] == {"item": "half"}
    assert last["parent"] == first["id"]
    assert last["agents"] == ["Packer"]
    (open_one,) = told["deliveries"]
    assert open_one["agent"] == "sell"
    assert json.loads(open_one["memos"]["once:charge"]) == {"value": 310}
    assert [seat["waits"] for seat in told["seats"]] == [True]
    glass = as_json(command, "show", path, "glass")
    assert [failure["attempt"] for failure in glass["failures"]] == [1, 2]


def test_what_is_no_event_is_shown_as_it_is(tmp_path: Path, command: Command) -> None:
    """A body that is no JSON, one of another kind, and ids that are not ours."""
    path = tmp_path / "odd.db"
    store = SQLiteStore(str(path))
    bodies = [("a", None, "bare"), ("b", "a", "[1]"), ("c", "gone", "{}")]
    entries = tuple(
        Entry(id=name, flow="f", parent=parent, kind="K@1", body=body, agents=("x",))
        for name, parent, body in bodies
    )
    store.apply(store.open(0).owner, [Append(entries=entries, deadline=9.0)], 0)
    store.db.execute("UPDATE agentflow_deliveries SET crashes = 2, recovered = 1")
    store.db.execute(
        "INSERT INTO agentflow_memos SELECT seq, 'x', m.value ->> 0, m.value ->> 1 "
        "FROM agentflow_events AS e, json_each(?) AS m WHERE e.id = 'a'",
        (json.dumps([["once:s", "odd"], ["name", ""]]),),
    )
    store.shut()
    out = shown(command, "show", path, "f")
    assert re.search(rf"has to be over by {MOMENT}", out)
    assert '1. K a from somebody\n   {"$repr": "bare"}\n' in out
    assert '2. K b from somebody, of 1\n   {"$repr": "[1]"}\n' in out
    assert "3. event c from somebody, of ?\n   null\n" in out
    assert "a process died that had it, crashes while it ran alone: 2" in out
    assert "kept s = odd\n" in out
    assert "kept name\n" in out


def test_retried_flows_run_in_the_next_session(make: Make, command: Command) -> None:
    """And are no dead letters from then on."""
    path = make("glass")
    ran = command("journal", "retry", path, "glass")
    assert (ran.code, ran.out) == (
        0,
        "opened 2 dead letters of flow glass-1 again\n",
    )
    assert ran.err == "they run when the next session begins\n"
    assert shown(command, "list", path).startswith("1 flow (1 open)")
    assert refused(command, "retry", path, "glass") == (
        "flow glass-1 has no dead letters"
    )
    again(path)
    (failed,) = as_json(command, "list", path)["flows"]
    assert (failed["status"], failed["dead"]) == ("failed", 2)
    assert len(as_json(command, "show", path, "glass")["failures"]) == 4


def test_all_dead_letters_can_be_retried(make: Make, command: Command) -> None:
    """Flows without any are left alone."""
    path = make("glass", "cash")
    ran = command("journal", "retry", path, "--all")
    assert ran.out == "opened 2 dead letters of flow glass-1 again\n"
    assert refused(command, "retry", path, "cash", "--all") == (
        "name flows, or --all, not both"
    )


def test_a_retry_is_all_or_nothing(make: Make, command: Command) -> None:
    """One flow that cannot be retried leaves the others dead."""
    path = make("glass", "cash")
    assert "cash-1 has no dead letters" in refused(
        command, "retry", path, "glass", "cash"
    )
    assert as_json(command, "list", path, "--status", "failed")["flows"]


def test_flows_that_are_over_can_be_dropped(make: Make, command: Command) -> None:
    """Several at once, a flow named twice once; an open one stays, and all with it."""
    path = make("glass", "cash", "tent")
    assert refused(command, "drop", path, "cash", "tent") == (
        "flow tent-1 is open; a session has to finish or cancel it first"
    )
    out = shown(command, "drop", path, "glass", "cash", "cash-1")
    assert out == (
        "dropped flow glass-1 with 2 dead letters\n"
        "dropped flow cash-1 with 0 dead letters\n"
    )
    assert [flow["id"] for flow in as_json(command, "list", path)["flows"]] == [
        "tent-1"
    ]
    again(path)


def test_a_flow_that_is_not_named_is_not_guessed(make: Make, command: Command) -> None:
    """None, none such, and several such."""
    path = make("tent", "cash")
    assert refused(command, "drop", path) == ("name a flow, or the beginning of its id")
    assert refused(command, "retry", path) == (
        "name a flow, or the beginning of its id"
    )
    assert refused(command, "show", path, "x").startswith(
        "there is no flow 'x' in this file; see agentflow journal list"
    )
    assert "cash-1, tent-1" in refused(command, "show", path, "")


def test_an_abbreviation_that_is_an_id_is_that_flow(
    tmp_path: Path, command: Command
) -> None:
    """Whatever else begins with it; of many that do, a few are named."""
    path = tmp_path / "many.db"
    store = SQLiteStore(str(path))
    names = ["f", *(f"f{n}" for n in range(9))]
    entries = [Entry(id=n, flow=n, parent=None, kind="K@1", body="{}") for n in names]
    store.apply(store.open(0).owner, [Append(entries=(e,)) for e in entries], 0)
    store.shut()
    assert shown(command, "show", path, "f").startswith("flow f: ")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM agentflow_flows WHERE id = 'f'")
    assert refused(command, "show", path, "f") == (
        "several flows begin with 'f': f0, f1, f2, f3, f4 and more"
    )


def test_a_session_of_another_process_is_noticed(
    command: Command, tmp_path: Path
) -> None:
    """Everything works beside it, and it takes up what is retried."""
    path = tmp_path / "run.db"
    with living(path, "tent", "cash", "glass"):
        assert "; a session has the file" in shown(command, "list", path)
        while "kept charge" not in (told := shown(command, "show", path, "tent")):
            pass  # its handler is about to
        assert "sell: open, a session has it" in told
        while as_json(command, "show", path, "cash")["flow"]["status"] == "open":
            pass
        assert shown(command, "drop", path, "cash") == (
            "dropped flow cash-1 with 0 dead letters\n"
        )
        assert command("journal", "check", path).code == 0
        assert command("journal", "backup", path, tmp_path / "copy.db").code == 0
        while as_json(command, "show", path, "glass")["flow"]["status"] == "open":
            pass
        assert command("journal", "retry", path, "--all").err == "they run now\n"
        while len(as_json(command, "show", path, "glass")["failures"]) < 4:
            pass
    assert "no session has the file" in shown(command, "list", tmp_path / "copy.db")


def test_what_a_killed_process_had_is_there(command: Command, tmp_path: Path) -> None:
    """Its lock is not, and the next session is told by nobody to keep out."""
    path = tmp_path / "run.db"
    with living(path, "tent") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "; no session has the file" in shown(command, "list", path)
    assert "sell: open, waits" in shown(command, "show", path, "tent")
    again(path)
    assert "a process died that had it" in shown(command, "show", path, "tent")


async def test_what_is_asked_keeps_no_session_out(
    command: Command, tmp_path: Path
) -> None:
    """A session begins while somebody looks, in the same process, too."""
    path = tmp_path / "run.db"
    async with AsyncDispatcher(shop(), journal=SQLiteJournal(path)) as dispatcher:
        await dispatcher.send(order("tent"))
        await anyio.sleep(0.1)  # its handler waits by now
        assert "; a session has the file" in shown(command, "list", path)
        async with dispatcher.open_flow(correlation_id="tent-1") as flow:
            flow.dispatch(Answer(source="boss", yes=True))
        assert as_json(command, "list", path)["in_use"] is True
    assert as_json(command, "list", path)["in_use"] is False
    await finish(shop(), SQLiteJournal(path))


def test_the_installed_command_imports_no_program(make: Make) -> None:
    """It is run where the program cannot be found."""
    path = make("tent")
    done = subprocess.run(
        [sys.executable, "-m", "agentflow", "journal", "show", path, "tent"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=path.parent,
    )
    assert "1. Order " in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_commands(group: str, command: Command) -> None:
    """With the first line of each, whether one asks for help or for nothing."""
    out = command(group, "--help").out
    assert command(group).out == out
    names = [name for name in COMMANDS if name.startswith(f"{group} ")]
    for name in names:
        assert f"│ {name.split()[1]} " in out
    assert len(names) > 1
