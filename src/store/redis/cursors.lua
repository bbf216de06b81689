-- Moves the cursors of records that are still the same, forward only, and not beyond the end of the log.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     key, id, cursor, key, id, cursor, …
local head = tonumber(redis.call('GET', KEYS[1] .. 'head') or '0')
for at = 1, #ARGV, 3 do
  local record, cursor = KEYS[1] .. 'r:' .. ARGV[at], tonumber(ARGV[at + 2])
  local found = redis.call('HMGET', record, 'id', 'cursor')
  if found[1] == ARGV[at + 1] and found[2] and tonumber(found[2]) < cursor and cursor <= head then
    redis.call('HSET', record, 'cursor', ARGV[at + 2])
  end
end
