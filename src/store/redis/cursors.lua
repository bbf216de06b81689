-- Moves cursors forward; records that are gone, or have no cursor, are passed over.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     key, cursor, key, cursor, …
for at = 1, #ARGV, 2 do
  local record = KEYS[1] .. 'r:' .. ARGV[at]
  local cursor = redis.call('HGET', record, 'cursor')
  if cursor and tonumber(cursor) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', record, 'cursor', ARGV[at + 1])
  end
end
