-- One sign of life of a process that delivers, and what it then holds.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     id, name, time to live in milliseconds (0 when it ends), the number of parts, whether it takes free ones (1)
--          or not (0), the parts it lets go of, …
-- Returns  {its fair share, {part, fence, …}, {name, …}}
local agents, parts = KEYS[1] .. 'agents', KEYS[1] .. 'parts'
local me, ttl, count = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if ttl > 0 then
  redis.call('HSET', agents, me, string.format('%d %s', now + ttl, ARGV[2]))
else
  redis.call('HDEL', agents, me)
end
local alive, ids, names = {}, {}, {}
local flat = redis.call('HGETALL', agents)
for at = 1, #flat, 2 do
  local till, name = string.match(flat[at + 1], '^(%d+) (.*)$')
  if ttl > 0 and tonumber(till) > now + ttl then
    -- Nobody can have said so but by a clock that has gone back since.
    till = now + ttl
    redis.call('HSET', agents, flat[at], string.format('%d %s', till, name))
  end
  if tonumber(till) > now then
    alive[flat[at]] = name
    ids[#ids + 1] = flat[at]
  else
    redis.call('HDEL', agents, flat[at])
  end
end
-- Ids are of digits and lower-case letters, which every locale sorts alike.
table.sort(ids)
local fair = 0
for rank, id in ipairs(ids) do
  names[rank] = alive[id]
  if id == me then fair = math.floor(count / #ids) + (rank <= count % #ids and 1 or 0) end
end

local owner, fence = {}, {}
flat = redis.call('HGETALL', parts)
for at = 1, #flat, 2 do
  local part = tonumber(flat[at])
  local by, number = string.match(flat[at + 1], '^(%S+) (%d+)$')
  owner[part], fence[part] = alive[by] and by, tonumber(number)
end
for at = 6, #ARGV do
  local part = tonumber(ARGV[at])
  if owner[part] == me then
    owner[part] = nil
    redis.call('HSET', parts, part, string.format('- %d', fence[part]))
  end
end
local mine = 0
for part = 0, count - 1 do
  if owner[part] == me then mine = mine + 1 end
end
local held = {}
for part = 0, count - 1 do
  if ARGV[5] == '1' and not owner[part] and mine < fair then
    owner[part], fence[part], mine = me, (fence[part] or 0) + 1, mine + 1
    redis.call('HSET', parts, part, string.format('%s %d', me, fence[part]))
  end
  if owner[part] == me then
    held[#held + 1] = part
    held[#held + 1] = fence[part]
  end
end
return {fair, held, names}
