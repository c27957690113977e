"""The tables of the SQLite store, and its statements that work on many rows at once.

Theory of operation. A commit costs as much as it touches pages, so what is busy at the same
time lies together: events, deliveries and flows are numbered in order of arrival, and found
by number. Ids are looked up by a hash of theirs, which the index holds in the place of a
long text; two ids of one hash are told apart by the text.
"""

VERSION = 2

TABLES = """
CREATE TABLE IF NOT EXISTS agentflow_owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT, until REAL, is_closed INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS agentflow_flows (
    no INTEGER PRIMARY KEY, id TEXT UNIQUE, status TEXT, reason TEXT, open INTEGER,
    started REAL, ended REAL, deadline REAL
);
CREATE TABLE IF NOT EXISTS agentflow_events (
    seq INTEGER PRIMARY KEY, flow INTEGER, hash INTEGER, id TEXT, parent TEXT,
    kind TEXT, body TEXT, terminates INTEGER
);
CREATE INDEX IF NOT EXISTS agentflow_events_of ON agentflow_events (flow, hash);
CREATE TABLE IF NOT EXISTS agentflow_deliveries (
    event INTEGER, agent TEXT, owner INTEGER, place INTEGER,
    attempt INTEGER DEFAULT 1, due REAL DEFAULT 0, dead INTEGER DEFAULT 0,
    recovered INTEGER DEFAULT 0, suspect INTEGER DEFAULT 0,
    started INTEGER DEFAULT 0, crashes INTEGER DEFAULT 0,
    PRIMARY KEY (event, agent)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS agentflow_free ON agentflow_deliveries
    (suspect, crashes, event, place) WHERE owner IS NULL AND dead = 0;
CREATE TABLE IF NOT EXISTS agentflow_failures (
    event INTEGER, agent TEXT, time REAL, attempt INTEGER, error TEXT
);
CREATE INDEX IF NOT EXISTS agentflow_failures_of ON agentflow_failures (event);
CREATE TABLE IF NOT EXISTS agentflow_memos (
    event INTEGER, agent TEXT, name TEXT, value TEXT,
    PRIMARY KEY (event, agent, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agentflow_seats (
    flow INTEGER, agent TEXT, event INTEGER, seq INTEGER, places TEXT, taken_by INTEGER,
    PRIMARY KEY (flow, agent, event)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agentflow_facts (
    name TEXT PRIMARY KEY, value TEXT
) WITHOUT ROWID;
"""

BATCH = """
CREATE TEMP VIEW agentflow_batch AS SELECT
    0 AS op, 0 AS seq, 0 AS flow, 0 AS hash, 0 AS id, 0 AS parent, 0 AS kind, 0 AS body,
    0 AS terminates, 0 AS agent, 0 AS owner, 0 AS done_event, 0 AS done_agent;
CREATE TEMP TRIGGER agentflow_event INSTEAD OF INSERT ON agentflow_batch
WHEN new.op <= 2 BEGIN
    INSERT INTO agentflow_events
    SELECT new.seq, new.flow, new.hash, new.id, new.parent, new.kind, new.body,
        new.terminates WHERE new.op = 1;
    DELETE FROM agentflow_deliveries
    WHERE event = new.done_event AND agent = new.done_agent;
    INSERT INTO agentflow_deliveries (event, agent, owner, place)
    SELECT new.seq, new.agent, new.owner, CASE new.op WHEN 2 THEN new.flow ELSE 0 END
    WHERE new.agent IS NOT NULL;
END;
CREATE TEMP TRIGGER agentflow_count INSTEAD OF INSERT ON agentflow_batch
WHEN new.op = 3 BEGIN
    INSERT INTO agentflow_flows (no, id, status, reason, open, started)
    VALUES (new.flow, new.id, 'open', '', new.seq, new.body)
    ON CONFLICT (no) DO UPDATE SET
        open = open + excluded.open, status = 'open', reason = '', ended = NULL;
    UPDATE agentflow_flows SET status = 'done', ended = new.body
    WHERE no = new.flow AND open = 0;
END;
"""
"""A view that takes each row for what is to be done: one statement is a whole batch.

Python lets go of its lock for the length of a statement, and getting it back from a busy
event loop may take longer than the statement does. Besides, it is its own transaction.

- 1: an event, with its first delivery if it has one, and one that is done with it;
- 2: a further delivery, in the place `flow`, or one that is done;
- 3: a flow; its counter changes by `seq` at the time `body`.
"""

COLUMNS = 13

KNOWN_FLOWS = """
SELECT id, no FROM agentflow_flows WHERE id IN (SELECT value FROM json_each(?))
"""

KNOWN_EVENTS = """
SELECT e.flow, e.id FROM json_each(?) AS j CROSS JOIN agentflow_events AS e
ON e.flow = j.value ->> 0 AND e.hash = j.value ->> 1 AND e.id = j.value ->> 2
"""

FREE = """
SELECT event, agent FROM agentflow_deliveries
WHERE owner IS NULL AND dead = 0 AND suspect = ? ORDER BY crashes, event, place LIMIT ?
"""

FREE_OF = """
SELECT d.event, d.agent
FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e ON e.flow = f.no
CROSS JOIN agentflow_deliveries AS d ON d.event = e.seq
WHERE f.id = ? AND d.owner IS NULL AND d.dead = 0 AND d.suspect = ?
ORDER BY d.crashes, d.event, d.place LIMIT ?
"""

TAKE = """
UPDATE agentflow_deliveries SET owner = ?
WHERE (event, agent) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))
"""

TAKEN = """
SELECT f.id, e.id, d.agent, e.body, d.attempt, d.due, d.recovered, d.crashes, d.event, f.no
FROM json_each(?) AS j
CROSS JOIN agentflow_deliveries AS d ON d.event = j.value ->> 0 AND d.agent = j.value ->> 1
CROSS JOIN agentflow_events AS e ON e.seq = d.event
CROSS JOIN agentflow_flows AS f ON f.no = e.flow
ORDER BY d.crashes, d.event, d.place
"""

MEMOS = """
SELECT m.event, m.agent, m.name, m.value
FROM json_each(?) AS j CROSS JOIN agentflow_memos AS m
ON m.event = j.value ->> 0 AND m.agent = j.value ->> 1
ORDER BY m.name
"""

FLOWS = """
SELECT id, status, reason, open,
    (SELECT count(*) FROM agentflow_events AS e WHERE e.flow = no) AS events,
    started, ended, deadline
FROM agentflow_flows
"""

EVENTS = """
SELECT f.id, e.id, e.parent, e.kind, e.body, e.terminates
FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e ON e.flow = f.no
WHERE f.id = ? ORDER BY e.seq
"""

OF_FLOW = """
event IN (SELECT seq FROM agentflow_events WHERE flow = ?)
"""

OF_FLOW_ID = """
event IN (
    SELECT e.seq FROM agentflow_flows AS f CROSS JOIN agentflow_events AS e
    ON e.flow = f.no WHERE f.id = ?
)
"""

RECOVER = """
UPDATE agentflow_deliveries SET
    owner = NULL, recovered = 1, suspect = suspect OR started > 0,
    crashes = crashes + (started = 2), started = 0
WHERE owner IN (SELECT value FROM json_each(?))
"""

CRASHED = """
SELECT f.id, d.crashes FROM agentflow_deliveries AS d
JOIN agentflow_events AS e ON e.seq = d.event JOIN agentflow_flows AS f ON f.no = e.flow
WHERE d.owner IS NULL AND d.dead = 0 AND d.suspect = 1 AND d.crashes >= ?
"""

MEMBERS = """
SELECT e.id, e.body FROM agentflow_seats AS s JOIN agentflow_events AS e ON e.seq = s.event
WHERE s.flow = ? AND s.agent = ? AND s.taken_by = ? ORDER BY s.seq
"""

DEAD = """
SELECT f.id, e.id, d.agent, e.body, f.reason, d.event FROM agentflow_deliveries AS d
JOIN agentflow_events AS e ON e.seq = d.event JOIN agentflow_flows AS f ON f.no = e.flow
WHERE d.dead = 1 ORDER BY d.event, d.place
"""

MISCOUNTED = """
SELECT f.id, f.open, count(d.event) FROM agentflow_flows AS f
LEFT JOIN agentflow_events AS e ON e.flow = f.no
LEFT JOIN agentflow_deliveries AS d ON d.event = e.seq AND d.dead = 0
GROUP BY f.no HAVING f.open <> count(d.event)
"""

LAST = """
SELECT max(seq), (SELECT max(no) FROM agentflow_flows) FROM (
    SELECT max(seq) AS seq FROM agentflow_events
    UNION ALL SELECT max(seq) FROM agentflow_seats
)
"""

OVER = """
SELECT no FROM agentflow_flows AS f
WHERE ended IS NOT NULL AND ended < ? AND (status <> 'failed' OR NOT EXISTS (
    SELECT 1 FROM agentflow_events AS e
    JOIN agentflow_deliveries AS d ON d.event = e.seq WHERE e.flow = f.no
))
"""
