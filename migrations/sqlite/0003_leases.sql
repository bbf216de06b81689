-- For how long records are as they were put.

-- `deadline` is a reading of the clock below, `ttl` in milliseconds; both are NULL where only the owner ends the lease.
-- `graced` says that it went on once after the clock had stood still. `ending` is what is done then, as MessagePack.
CREATE TABLE leases (
    key      TEXT PRIMARY KEY NOT NULL,
    deadline INTEGER,
    ttl      INTEGER,
    graced   INTEGER NOT NULL DEFAULT 0,
    owner    TEXT,
    ending   BLOB NOT NULL
);
CREATE INDEX leases_by_deadline ON leases (deadline, key) WHERE deadline IS NOT NULL;
CREATE INDEX leases_by_owner ON leases (owner, key) WHERE owner IS NOT NULL;

-- The one row of the clock, in milliseconds: its newest reading, what it is ahead of the wall clock, and its reading when
-- it last went on after it had stood still.
CREATE TABLE clock (
    tick    INTEGER,
    ahead   INTEGER NOT NULL,
    resumed INTEGER NOT NULL
);
INSERT INTO clock (ahead, resumed) VALUES (0, 0);
