-- Who made a change, and from which address; NULL where nobody did, and for what is older.
ALTER TABLE events ADD COLUMN actor TEXT;
