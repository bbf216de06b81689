-- The registry. All keys begin with `{namespace}:`, so that a namespace lives on one node of a cluster:
--   head     the newest revision
--   log      the stream of events; an entry's id is `<revision>-0`
--   r:KEY    a record, as a hash: id, rev, created, updated, cursor, f:FIELD, i:INDEX
--   i:INDEX  the keys of an index's members, as a sorted set in which all scores are 0
--   meta     what this file sets: the schema's number
-- There is nothing to convert yet: a step is a script that is run once, atomically, with KEYS[1] the prefix.
return redis.status_reply('OK')
