-- Who made a change, and from which address: an entry of the log has the field `b` then.
return redis.status_reply('OK')
