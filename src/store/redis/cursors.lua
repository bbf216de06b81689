-- Moves the cursors of records that are still the same and held, forward only, and not beyond the end of the log.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     key, id, cursor, notes, part, `owner fence` (both empty when nobody has to hold it), key, …
local head = tonumber(redis.call('GET', KEYS[1] .. 'head') or '0')
for at = 1, #ARGV, 6 do
  local record, cursor = KEYS[1] .. 'r:' .. ARGV[at], tonumber(ARGV[at + 2])
  local held = ARGV[at + 4] == '' or redis.call('HGET', KEYS[1] .. 'parts', ARGV[at + 4]) == ARGV[at + 5]
  if held and cursor <= head then
    local found = redis.call('HMGET', record, 'id', 'cursor')
    if found[1] == ARGV[at + 1] and found[2] and tonumber(found[2]) <= cursor then
      redis.call('HSET', record, 'cursor', ARGV[at + 2], 'notes', ARGV[at + 3])
    end
  end
end
