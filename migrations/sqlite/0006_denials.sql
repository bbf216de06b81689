-- Requests that were refused, as JSON. Only the newest are kept, and the newest always, so no number is given twice.
CREATE TABLE denials (
    number INTEGER PRIMARY KEY,
    denial TEXT NOT NULL
);
