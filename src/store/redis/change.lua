-- How records change, each change with its event, and how leases end.
-- Goes behind `order.lua` and `clock.lua`.
-- ARGV[4]  the time of the events, in milliseconds since 1970; those of commits have a time of their own
local time = ARGV[4]
-- Whether whole records are wanted in the results.
local whole = false
local head = known_head
if not head then
  -- Nothing was ever committed; or the key was lost, and no revision may be given out twice.
  local last = redis.call('XREVRANGE', prefix .. 'log', '+', '-', 'COUNT', 1)[1]
  head = last and string.match(last[1], '^%d+') or '0'
end
head = tonumber(head)
-- The newest revision that was given here, as text.
local newest

local function next_revision()
  head = head + 1
  newest = string.format('%d', head)
  return newest
end

-- To be called behind the last change of what is done as a whole.
local function save_head()
  if newest then redis.call('SET', head_key, newest) end
  newest = nil
end

local function owned_by(owner) return prefix .. 'o:' .. owner end

local function record_at(key) return prefix .. 'r:' .. key end
local function index_at(index) return prefix .. 'i:' .. index end
local function starts(text, beginning) return string.sub(text, 1, #beginning) == beginning end
local function collection_of(key) return string.match(key, '^[^/]*') end

-- The members of a selection, in order. \255 is in no key, as keys are UTF-8.
local function members(select, limit)
  local from, to = '-', '+'
  if select.prefix ~= '' then from, to = '[' .. select.prefix, '(' .. select.prefix .. '\255' end
  if limit then return redis.call('ZRANGEBYLEX', index_at(select.index), from, to, 'LIMIT', 0, limit) end
  return redis.call('ZRANGEBYLEX', index_at(select.index), from, to)
end

-- Whether a part of a record is told to nobody: `f:!…`, a private field, and `l:…`, of its lease.
local function is_private(name)
  local first, second, third = string.byte(name, 1, 3)
  return second == 58 and (first == 108 or first == 102 and third == 33)
end

-- What an event says of a record: all but what is private, which most have nothing of.
local function told(flat)
  local public
  for at = 1, #flat, 2 do
    if is_private(flat[at]) then
      if not public then
        public = {}
        for before = 1, at - 1 do public[before] = flat[before] end
      end
    elseif public then
      public[#public + 1] = flat[at]
      public[#public + 1] = flat[at + 1]
    end
  end
  return public or flat
end

-- What led to the commit under way, and who makes it; what is due has neither.
local cause, actor

local function event(action, key, revision, flat)
  local entry = {'t', time, 'a', action, 'k', key}
  if cause then
    entry[#entry + 1] = 'c'
    entry[#entry + 1] = cause
  end
  if actor then
    entry[#entry + 1] = 'b'
    entry[#entry + 1] = actor
  end
  -- The record comes last: `log.lua` counts its bytes.
  entry[#entry + 1] = 'r'
  entry[#entry + 1] = cmsgpack.pack(told(flat))
  redis.call('XADD', prefix .. 'log', revision .. '-0', unpack(entry))
end

local delete, finish

-- The record named like an index exists for the index's members: without them it is deleted.
local function leave(index, key)
  redis.call('ZREM', index_at(index), key)
  if string.find(index, '/', 1, true) and redis.call('EXISTS', index_at(index)) == 0 then delete(index, 'delete') end
end

-- What was to be done at the end of a record's lease, which it has no more; nil when it had none.
local function take_lease(key)
  local at = record_at(key)
  local ending, owner = unpack(redis.call('HMGET', at, 'l:ending', 'l:owner'))
  if not ending then return nil end
  redis.call('HDEL', at, 'l:ending', 'l:owner', 'l:deadline', 'l:ttl', 'l:graced')
  redis.call('ZREM', deadlines, key)
  if owner then redis.call('ZREM', owned_by(owner), key) end
  return ending
end

local function give_lease(key, lease)
  local at = record_at(key)
  redis.call('HSET', at, 'l:ending', cmsgpack.pack(lease.ending))
  if lease.owner then
    redis.call('HSET', at, 'l:owner', lease.owner)
    redis.call('ZADD', owned_by(lease.owner), 0, key)
  end
  if lease.ttl then
    local deadline = string.format('%d', given + lease.ttl)
    redis.call('HSET', at, 'l:deadline', deadline, 'l:ttl', string.format('%d', lease.ttl))
    redis.call('ZADD', deadlines, deadline, key)
  end
end

local function renew_lease(key)
  local at = record_at(key)
  local ttl = redis.call('HGET', at, 'l:ttl')
  if not ttl then return end
  local deadline = string.format('%d', given + tonumber(ttl))
  redis.call('HSET', at, 'l:deadline', deadline)
  redis.call('HDEL', at, 'l:graced')
  redis.call('ZADD', deadlines, deadline, key)
end

function delete(key, action)
  local at = record_at(key)
  local flat = redis.call('HGETALL', at)
  if #flat == 0 then return nil end
  local joined, meta = {}, {}
  for field = 1, #flat, 2 do
    meta[flat[field]] = flat[field + 1]
    if starts(flat[field], 'i:') then joined[#joined + 1] = string.sub(flat[field], 3) end
    if flat[field] == 'l:ending' then take_lease(key) end
  end
  redis.call('DEL', at)
  local revision = next_revision()
  event(action, key, revision, flat)
  leave(collection_of(key), key)
  table.sort(joined, precedes)
  for _, index in ipairs(joined) do leave(index, key) end
  for _, owned in ipairs(redis.call('ZRANGE', owned_by(key), 0, -1)) do finish(owned) end
  return {key, action, meta.id, revision, meta.created, meta.updated, whole and flat or nil}
end

-- What an edit leaves out.
local NONE = {}

local function put(key, op, action)
  local at, edit = record_at(key), op.edit
  local meta = redis.call('HMGET', at, 'rev', 'id', 'created', 'updated', 'l:ending')
  local revision, id, created, updated, is_leased = unpack(meta)
  action = action or 'update'
  if not revision then
    if not op.create then return nil end
    action, id, created = 'create', op.id, time
    redis.call('HSET', at, 'id', id, 'created', created)
    if op.cursor then
      redis.call('HSET', at, 'cursor', string.format('%d', math.min(op.after or head + 1, head + 1)))
    end
    redis.call('ZADD', index_at(collection_of(key)), 0, key)
    if op.maker then
      redis.call('HSET', at, 'i:' .. op.maker, '')
      redis.call('ZADD', index_at(op.maker), 0, key)
    end
  end
  local signal = op.signal
  if op.lease and op.lease ~= 'keep' then
    if op.lease == 'renew' then
      renew_lease(key)
    elseif is_leased then
      take_lease(key)
    end
    if type(op.lease) == 'table' then
      give_lease(key, op.lease.lease)
      -- To renew one says nothing new.
      signal = signal and not is_leased
    end
  end
  local changed = action == 'create' or signal
  for _, field in ipairs(edit.set or NONE) do
    local name = 'f:' .. field[1]
    if changed or redis.call('HGET', at, name) ~= field[2] then
      redis.call('HSET', at, name, field[2])
      changed = true
    end
  end
  for _, name in ipairs(edit.unset or NONE) do
    if redis.call('HDEL', at, 'f:' .. name) == 1 then changed = true end
  end
  for _, index in ipairs(edit.join or NONE) do
    if redis.call('HSETNX', at, 'i:' .. index, '') == 1 then
      redis.call('ZADD', index_at(index), 0, key)
      changed = true
    end
  end
  local left = {}
  for _, index in ipairs(edit.leave or NONE) do
    if redis.call('HDEL', at, 'i:' .. index) == 1 then left[#left + 1] = index end
  end
  local flat
  if changed or #left > 0 then
    revision, updated = next_revision(), time
    redis.call('HSET', at, 'rev', revision, 'updated', updated)
    flat = redis.call('HGETALL', at)
    event(action, key, revision, flat)
    for _, index in ipairs(left) do leave(index, key) end
  else
    action = ''
  end
  return {key, action, id, revision, created, updated, whole and (flat or redis.call('HGETALL', at)) or nil}
end

-- Ends the lease of a record, if it has one, by the steps that were to be done then.
function finish(leased)
  for _, step in ipairs(cmsgpack.unpack(take_lease(leased) or '\144')) do
    local kind, arg = next(step)
    if kind == 'delete' then
      delete(arg, arg == leased and 'expire' or 'delete')
    elseif kind == 'strip' then
      for _, key in ipairs(members(arg.select)) do put(key, {edit = {unset = arg.unset, leave = arg.leave}}) end
    elseif redis.call('HGET', record_at(arg.key), 'f:' .. arg.field) == arg.from then
      -- The last of them, `turn`.
      put(arg.key, {edit = {set = {{arg.field, arg.to}}}}, arg.key == leased and 'expire' or 'update')
    end
  end
end

-- Ends a chunk of what is due, in the order of deadlines; how many leases, and whether there may be more. A lease that was
-- given before the clock stood still gets its grace, once.
local function settle(must_tick)
  local due = is_due()
  if must_tick or due then
    look()
    if not can_write() then return 0, false end
    advance()
  end
  if not due then return 0, false end
  local ended = 0
  due = redis.call('ZRANGEBYSCORE', deadlines, '-inf', string.format('%d', now), 'LIMIT', 0, CHUNK)
  for _, key in ipairs(due) do
    local at = record_at(key)
    local deadline, ttl, graced = unpack(redis.call('HMGET', at, 'l:deadline', 'l:ttl', 'l:graced'))
    local over_at = tonumber(deadline or '0')
    if deadline and not graced and over_at - tonumber(ttl) < resumed then
      over_at = math.max(over_at, resumed + math.min(tonumber(ttl), GRACE))
    end
    if over_at > now then
      over_at = string.format('%d', over_at)
      redis.call('HSET', at, 'l:deadline', over_at, 'l:graced', '1')
      redis.call('ZADD', deadlines, over_at, key)
    elseif deadline then
      finish(key)
      ended = ended + 1
    else
      redis.call('ZREM', deadlines, key)
    end
  end
  return ended, #due == CHUNK
end

