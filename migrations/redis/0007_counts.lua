-- How many members an index has: a sorted set knows.
return redis.status_reply('OK')
