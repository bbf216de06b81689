-- What led to a change, as whoever made it said; NULL where nobody did.
ALTER TABLE events ADD COLUMN cause TEXT;
