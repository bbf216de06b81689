-- Copies records with all that is kept of them, and changes nothing.
-- Goes behind `guard.lua`, `order.lua` and `clock.lua`.
-- ARGV[5]  the most records or events, ARGV[6] about the most bytes
-- ARGV[7]  what is copied: `list` (a collection, and the key before it, or an empty one), `changed` (the records that the
--          events after a revision are about), `record` (a key); the arguments follow
-- Returns  {the clock, its `resumed`, head, the last event that it is about, {key, record, …}}, an empty record being one
--          that is not there; without records when the event after the revision was removed, and then the oldest
local limit, most = tonumber(ARGV[5]), tonumber(ARGV[6])
local found, bytes, position = {}, 0, 0

local function add(key)
  local flat = redis.call('HGETALL', prefix .. 'r:' .. key)
  for at = 2, #flat, 2 do bytes = bytes + #flat[at] end
  found[#found + 1] = key
  found[#found + 1] = flat
end

local head = tonumber(known_head or '0')
look()
if ARGV[7] == 'list' then
  local from = ARGV[9] == '' and '-' or '(' .. ARGV[9]
  for _, key in ipairs(redis.call('ZRANGEBYLEX', prefix .. 'i:' .. ARGV[8], from, '+', 'LIMIT', 0, limit)) do
    if bytes >= most then break end
    add(key)
  end
elseif ARGV[7] == 'record' then
  add(ARGV[8])
else
  position = tonumber(ARGV[8])
  local seen, last = {}, math.min(head, position + limit)
  while position < last and bytes < most do
    local from = string.format('%d-0', position + 1)
    local entries = redis.call('XRANGE', prefix .. 'log', from, '+', 'COUNT', math.min(16, last - position))
    local first = entries[1] and tonumber(string.match(entries[1][1], '^%d+'))
    if not first then break end
    if first ~= position + 1 then return answer(head, first) end
    for _, entry in ipairs(entries) do
      if bytes >= most then break end
      position = position + 1
      local key
      for at = 1, #entry[2], 2 do
        if entry[2][at] == 'k' then key = entry[2][at + 1] end
      end
      if not seen[key] then
        seen[key] = true
        add(key)
      end
    end
  end
end
return answer(head, position, found)
