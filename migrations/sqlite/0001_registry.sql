-- The registry: records, the indexes they are members of, and the log of their changes.

-- `body` is a record's fields and the indexes it joined, as MessagePack.
CREATE TABLE records (
    key        TEXT PRIMARY KEY NOT NULL,
    id         BLOB NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    cursor     INTEGER,
    body       BLOB NOT NULL
);

-- Which records are in which index; a collection is an index too.
CREATE TABLE members (
    idx TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (idx, key)
) WITHOUT ROWID;

-- One row an event. The newest row is never removed: the next revision is counted from it.
-- `record` is the record as it was after the change, or before its deletion, as MessagePack.
CREATE TABLE events (
    revision INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,
    action   TEXT NOT NULL,
    key      TEXT NOT NULL,
    record   BLOB NOT NULL
);
