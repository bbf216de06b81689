-- What led to a change, as whoever made it said: an entry of the log has the field `c` then.
return redis.status_reply('OK')
