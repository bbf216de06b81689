-- Requests that were refused, in a stream of their own:
--   denials  an entry's id is `<number>-0`, and its field `d` the request as JSON; only the newest are kept
return redis.status_reply('OK')
