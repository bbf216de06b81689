-- One step of filling the namespace with what a snapshot holds.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV[1]  who restores
-- ARGV[2]  the step; its arguments follow
-- Meanwhile `head` is `restoring`, a space, and who restores: no other script, and no other Noah, can do anything then.
-- Returns  {'ok'}, or why not: {'filled', head}, {'used', name, …}, {'other'}, {'broken', revision}
local prefix, step = KEYS[1], ARGV[2]
local mine = 'restoring ' .. ARGV[1]
local head = redis.call('GET', prefix .. 'head')
local log = prefix .. 'log'

local function last_event()
  local entry = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[1], '^%d+')) or 0
end

-- begin: whether what is there goes (1)
if step == 'begin' then
  local users, time = {'used'}, redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local agents = redis.call('HGETALL', prefix .. 'agents')
  for at = 2, #agents, 2 do
    local till, name = string.match(agents[at], '^(%d+) (.*)$')
    if tonumber(till) > now then users[#users + 1] = name end
  end
  if #users > 1 then return users end
  local is_begun = head and string.sub(head, 1, 9) == 'restoring'
  local is_filled = not is_begun and (tonumber(head or '0') > 0 or redis.call('EXISTS', log) == 1)
  if is_filled and ARGV[3] ~= '1' then return {'filled', head or '0'} end
  redis.call('SET', prefix .. 'head', mine)
  return {'ok'}
end
if head ~= mine then return {'other'} end

local at = 2
local function next_arg()
  at = at + 1
  return ARGV[at]
end
-- So many of the next arguments; a call takes only so many at once.
local function each_hundred(count, call)
  while count > 0 do
    local some = math.min(count, 100)
    call(unpack(ARGV, at + 1, at + some))
    at, count = at + some, count - some
  end
end

-- clear: keys
if step == 'clear' then
  each_hundred(#ARGV - at, function(...) redis.call('DEL', ...) end)
end

-- events: for each its revision, how many words its entry has, and these
while step == 'events' and at < #ARGV do
  local revision, count = tonumber(next_arg()), tonumber(next_arg())
  local last = last_event()
  if last > 0 and revision ~= last + 1 then return {'broken', string.format('%d', revision)} end
  redis.call('XADD', log, string.format('%d-0', revision), unpack(ARGV, at + 1, at + count))
  at = at + count
end

-- records: for each its key, its collection, how many words its hash has, and these; how many indexes, and these; the
-- deadline and the owner of its lease, either of which may be empty
while step == 'records' and at < #ARGV do
  local key, collection, count = next_arg(), next_arg(), tonumber(next_arg())
  local record = prefix .. 'r:' .. key
  each_hundred(count, function(...) redis.call('HSET', record, ...) end)
  redis.call('ZADD', prefix .. 'i:' .. collection, 0, key)
  for _ = 1, tonumber(next_arg()) do redis.call('ZADD', prefix .. 'i:' .. next_arg(), 0, key) end
  local deadline, owner = next_arg(), next_arg()
  if deadline ~= '' then redis.call('ZADD', prefix .. 'deadlines', deadline, key) end
  if owner ~= '' then redis.call('ZADD', prefix .. 'o:' .. owner, 0, key) end
end

-- end: the revision, the reading of the clock, and the wall clock where that is another than Redis's own
if step == 'end' then
  local revision, clock, wall = next_arg(), next_arg(), tonumber(next_arg())
  if last_event() ~= tonumber(revision) then return {'broken', revision} end
  local time = redis.call('TIME')
  wall = wall or tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', prefix .. 'clock', 'tick', clock, 'ahead', string.format('%d', tonumber(clock) - wall),
    'resumed', clock)
  redis.call('SET', prefix .. 'head', revision)
end
return {'ok'}
