-- For how long records are as they were put.
--   r:KEY      of a record with a lease has `l:ending` too: what is done at its end, as MessagePack; and, if it runs out,
--              `l:deadline`, a reading of the clock, and `l:ttl`, in milliseconds; `l:graced` once it went on after the
--              clock had stood still; `l:owner`, if the removal of another record ends it
--   deadlines  the keys of the records whose leases run out, as a sorted set by `l:deadline`
--   o:KEY      the keys of the records whose leases a record owns, as a sorted set in which all scores are 0
--   clock      a hash, in milliseconds: `tick`, the newest reading; `ahead`, what that is ahead of the wall clock;
--              `resumed`, the reading when it last went on after it had stood still
-- All of them are filled as they are used.
return redis.status_reply('OK')
