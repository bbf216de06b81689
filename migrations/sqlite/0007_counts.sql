-- How many members each index has, so that a limit costs the same whatever it is.
CREATE TABLE counts (
    idx     TEXT PRIMARY KEY NOT NULL,
    members INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counts (idx, members) SELECT idx, count(*) FROM members GROUP BY idx;

CREATE TRIGGER member_joined AFTER INSERT ON members BEGIN
    INSERT INTO counts (idx, members) VALUES (NEW.idx, 1) ON CONFLICT (idx) DO UPDATE SET members = members + 1;
END;
CREATE TRIGGER member_left AFTER DELETE ON members BEGIN
    UPDATE counts SET members = members - 1 WHERE idx = OLD.idx;
    DELETE FROM counts WHERE idx = OLD.idx AND members = 0;
END;
