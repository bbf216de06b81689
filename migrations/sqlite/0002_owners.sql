-- Who delivers for which watches. Watches are divided into 128 parts by their id; a part has one owner at a time.

-- What a watch's owner has written down about its deliveries: failures, the next try, the last success.
ALTER TABLE records ADD COLUMN notes BLOB;

-- The processes that deliver, and until when they count as alive, in milliseconds since 1970.
CREATE TABLE agents (
    id    BLOB PRIMARY KEY NOT NULL,
    name  TEXT NOT NULL,
    until INTEGER NOT NULL
);

-- `fence` grows each time a part is taken.
CREATE TABLE parts (
    number INTEGER PRIMARY KEY,
    owner  BLOB,
    fence  INTEGER NOT NULL
);
WITH RECURSIVE counted (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM counted WHERE number < 127)
INSERT INTO parts (number, fence) SELECT number, 0 FROM counted;
