"""The tables of the SQLite store, and its statements that work on many rows at once.

One statement takes a whole batch as JSON: Python gives up its lock at every statement, and
getting it back from a busy event loop may take longer than all the rows do.
"""

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS agentflow_owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT, until REAL, is_closed INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS agentflow_flows (
    id TEXT PRIMARY KEY, status TEXT, reason TEXT, open INTEGER, events INTEGER,
    started REAL, ended REAL, deadline REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agentflow_events (
    seq INTEGER PRIMARY KEY, flow TEXT, id TEXT, parent TEXT, kind TEXT, body TEXT,
    terminates INTEGER, UNIQUE (flow, id)
);
CREATE TABLE IF NOT EXISTS agentflow_deliveries (
    flow TEXT, event TEXT, agent TEXT, seq INTEGER, owner INTEGER,
    attempt INTEGER DEFAULT 1, due REAL DEFAULT 0, dead INTEGER DEFAULT 0,
    recovered INTEGER DEFAULT 0, suspect INTEGER DEFAULT 0,
    started INTEGER DEFAULT 0, crashes INTEGER DEFAULT 0,
    PRIMARY KEY (flow, event, agent)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS agentflow_free ON agentflow_deliveries (suspect, crashes, seq)
    WHERE owner IS NULL AND dead = 0;
CREATE TABLE IF NOT EXISTS agentflow_failures (
    flow TEXT, event TEXT, agent TEXT, time REAL, attempt INTEGER, error TEXT
);
CREATE INDEX IF NOT EXISTS agentflow_failures_of ON agentflow_failures (flow, event);
CREATE TABLE IF NOT EXISTS agentflow_memos (
    flow TEXT, event TEXT, agent TEXT, name TEXT, value TEXT,
    PRIMARY KEY (flow, event, agent, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agentflow_seats (
    flow TEXT, agent TEXT, event TEXT, seq INTEGER, places TEXT, taken_by TEXT,
    PRIMARY KEY (flow, agent, event)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agentflow_facts (
    name TEXT PRIMARY KEY, value TEXT
) WITHOUT ROWID;
"""

MINE = """
SELECT 1 FROM agentflow_deliveries
WHERE flow = ? AND event = ? AND agent = ? AND owner = ? AND dead = 0
"""

STRIKE_OUT = """
DELETE FROM agentflow_deliveries
WHERE owner = ? AND dead = 0 AND (flow, event, agent) IN (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)
) RETURNING flow, event, agent
"""

ENTER_EVENTS = """
INSERT OR IGNORE INTO agentflow_events (flow, id, seq, parent, kind, body, terminates)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6
FROM json_each(?)
"""

NEW_EVENTS = """
SELECT e.seq FROM json_each(?) AS j JOIN agentflow_events AS e
ON e.flow = j.value ->> 0 AND e.id = j.value ->> 1 AND e.seq = j.value ->> 2
"""

ENTER_DELIVERIES = """
INSERT INTO agentflow_deliveries (flow, event, agent, seq, owner)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ? FROM json_each(?)
"""

COUNT_FLOWS = """
INSERT INTO agentflow_flows (id, status, reason, open, events, started)
SELECT value ->> 0, 'open', '', value ->> 1, value ->> 2, ? FROM json_each(?) WHERE 1
ON CONFLICT (id) DO UPDATE SET
    open = open + excluded.open, events = events + excluded.events,
    status = 'open', reason = '', ended = NULL
"""

CLOSE_FLOWS = """
UPDATE agentflow_flows SET status = 'done', ended = ?
WHERE open = 0 AND id IN (SELECT value FROM json_each(?))
"""

FREE = """
SELECT flow, event, agent FROM agentflow_deliveries
WHERE owner IS NULL AND dead = 0 AND suspect = ? AND (? IS NULL OR flow = ?)
ORDER BY crashes, seq LIMIT ?
"""

TAKE = """
UPDATE agentflow_deliveries SET owner = ?
WHERE (flow, event, agent) IN (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)
)
"""

TAKEN = """
SELECT d.flow, d.event, d.agent, e.body, d.attempt, d.due, d.recovered, d.crashes
FROM json_each(?) AS j
JOIN agentflow_deliveries AS d ON d.flow = j.value ->> 0
    AND d.event = j.value ->> 1 AND d.agent = j.value ->> 2
JOIN agentflow_events AS e ON e.flow = d.flow AND e.id = d.event
ORDER BY d.crashes, d.seq
"""

MEMOS = """
SELECT m.flow, m.event, m.agent, m.name, m.value
FROM json_each(?) AS j JOIN agentflow_memos AS m ON m.flow = j.value ->> 0
    AND m.event = j.value ->> 1 AND m.agent = j.value ->> 2
ORDER BY m.name
"""

FORGET_MEMOS = """
DELETE FROM agentflow_memos WHERE (flow, event, agent) IN (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)
)
"""

FLOWS = """
SELECT id, status, reason, open, events, started, ended, deadline FROM agentflow_flows
"""

RECOVER = """
UPDATE agentflow_deliveries SET
    owner = NULL, recovered = 1, suspect = suspect OR started > 0,
    crashes = crashes + (started = 2), started = 0
WHERE owner IN (SELECT value FROM json_each(?))
"""

MEMBERS = """
SELECT s.event, e.body FROM agentflow_seats AS s
JOIN agentflow_events AS e ON e.flow = s.flow AND e.id = s.event
WHERE s.flow = ? AND s.agent = ? AND s.taken_by = ? ORDER BY s.seq
"""

DEAD = """
SELECT d.flow, d.event, d.agent, e.body, f.reason FROM agentflow_deliveries AS d
JOIN agentflow_events AS e ON e.flow = d.flow AND e.id = d.event
JOIN agentflow_flows AS f ON f.id = d.flow
WHERE d.dead = 1 ORDER BY d.seq
"""

MISCOUNTED = """
SELECT f.id, f.open, count(d.event) FROM agentflow_flows AS f
LEFT JOIN agentflow_deliveries AS d ON d.flow = f.id AND d.dead = 0
GROUP BY f.id HAVING f.open <> count(d.event)
"""

LAST = """
SELECT max(seq) FROM (
    SELECT max(seq) AS seq FROM agentflow_events
    UNION ALL SELECT max(seq) FROM agentflow_seats
)
"""

OVER = """
SELECT id FROM agentflow_flows AS f WHERE ended IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM agentflow_deliveries AS d WHERE d.flow = f.id
) ORDER BY ended
"""
