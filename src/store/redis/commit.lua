-- One commit: all checks, then all operations with their events, in one step of Redis.
-- Goes behind `order.lua`.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV[1]  the commit (`primitives::Commit`) as MessagePack; the values of its fields follow one by one, since
--          Redis reads no binary strings from MessagePack
-- Returns  {head, {op, …}}, an op being {{key, action, id, revision, created, updated, record}, …};
--          when a check does not hold, {head, check, revision}
local prefix = KEYS[1]
local commit = cmsgpack.unpack(ARGV[1])
local now = string.format('%d', commit.now)
local head = redis.call('GET', prefix .. 'head')
if not head then
  -- Nothing was ever committed; or the key was lost, and no revision may be given out twice.
  local last = redis.call('XREVRANGE', prefix .. 'log', '+', '-', 'COUNT', 1)[1]
  head = last and string.match(last[1], '^%d+') or '0'
end
head = tonumber(head)
local before = head
local value = 1
for _, op in ipairs(commit.ops) do
  local _, arg = next(op)
  for _, field in ipairs(arg.edit and arg.edit.set or {}) do
    value = value + 1
    field[2] = ARGV[value]
  end
end

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

-- Each check gives whether it holds, and the revision of the record it is about.
local checks = {}
function checks.absent(key)
  local revision = redis.call('HGET', record_at(key), 'rev')
  return not revision, revision
end
function checks.exists(key)
  return redis.call('EXISTS', record_at(key)) == 1
end
function checks.revision(arg)
  local revision = redis.call('HGET', record_at(arg[1]), 'rev')
  for _, wanted in ipairs(arg[2]) do
    if revision and tonumber(revision) == wanted then return true end
  end
  return false, revision
end
function checks.field(arg)
  return redis.call('HEXISTS', record_at(arg[1]), 'f:' .. arg[2]) == 1, redis.call('HGET', record_at(arg[1]), 'rev')
end
function checks.any(select)
  return #members(select, 1) > 0
end
function checks.members(arg)
  local found = members({index = arg[1], prefix = ''})
  if #found ~= #arg[2] then return false end
  for _, wanted in ipairs(arg[2]) do
    if not redis.call('ZSCORE', index_at(arg[1]), wanted) then return false end
  end
  return true
end

function checks.held(hold)
  return redis.call('HGET', prefix .. 'parts', hold.part) == string.format('%s %d', hold.owner, hold.fence)
end

for at, check in ipairs(commit.checks) do
  local kind, arg = next(check)
  local holds, revision = checks[kind](arg)
  if not holds then
    return {head, at - 1, revision or ''}
  end
end

-- What an event says of a record: all but its private fields.
local function told(flat)
  local public = {}
  for at = 1, #flat, 2 do
    if not starts(flat[at], 'f:!') then
      public[#public + 1] = flat[at]
      public[#public + 1] = flat[at + 1]
    end
  end
  return public
end

local function event(action, key, flat)
  head = head + 1
  redis.call('XADD', prefix .. 'log', string.format('%d-0', head),
    't', now, 'a', action, 'k', key, 'r', cmsgpack.pack(told(flat)))
end

local function applied(action, key, revision, flat, whole)
  local meta = {}
  for at = 1, #flat, 2 do meta[flat[at]] = flat[at + 1] end
  return {key, action, meta.id, string.format('%d', revision), meta.created, meta.updated, whole}
end

local delete

-- The record named like an index exists for the index's members: without them it is deleted.
local function leave(index, key)
  redis.call('ZREM', index_at(index), key)
  if string.find(index, '/', 1, true) and redis.call('EXISTS', index_at(index)) == 0 then delete(index) end
end

function delete(key)
  local at = record_at(key)
  local flat = redis.call('HGETALL', at)
  if #flat == 0 then return nil end
  redis.call('DEL', at)
  event('delete', key, flat)
  local revision = head
  leave(collection_of(key), key)
  local joined = {}
  for field = 1, #flat, 2 do
    if starts(flat[field], 'i:') then joined[#joined + 1] = string.sub(flat[field], 3) end
  end
  table.sort(joined, precedes)
  for _, index in ipairs(joined) do leave(index, key) end
  return applied('delete', key, revision, flat, commit.whole and flat or nil)
end

local function put(key, op)
  local at, edit = record_at(key), op.edit
  local revision = redis.call('HGET', at, 'rev')
  local action = 'update'
  if not revision then
    if not op.create then return nil end
    action = 'create'
    redis.call('HSET', at, 'id', op.id, 'created', now)
    if op.cursor then
      redis.call('HSET', at, 'cursor', string.format('%d', math.min(op.after or head + 1, head + 1)))
    end
    redis.call('ZADD', index_at(collection_of(key)), 0, key)
  end
  local changed = action == 'create' or op.signal
  for _, field in ipairs(edit.set) do
    local name = 'f:' .. field[1]
    if action == 'create' or op.signal or redis.call('HGET', at, name) ~= field[2] then
      redis.call('HSET', at, name, field[2])
      changed = true
    end
  end
  for _, name in ipairs(edit.unset) do
    if redis.call('HDEL', at, 'f:' .. name) == 1 then changed = true end
  end
  for _, index in ipairs(edit.join) do
    if redis.call('HSETNX', at, 'i:' .. index, '') == 1 then
      redis.call('ZADD', index_at(index), 0, key)
      changed = true
    end
  end
  local left = {}
  for _, index in ipairs(edit.leave) do
    if redis.call('HDEL', at, 'i:' .. index) == 1 then left[#left + 1] = index end
  end
  local flat
  if changed or #left > 0 then
    revision = head + 1
    redis.call('HSET', at, 'rev', string.format('%d', revision), 'updated', now)
    flat = redis.call('HGETALL', at)
    event(action, key, flat)
    for _, index in ipairs(left) do leave(index, key) end
  else
    action, flat = '', redis.call('HGETALL', at)
  end
  return applied(action, key, tonumber(revision), flat, commit.whole and flat or nil)
end

local ops = {}
function ops.put(op, touched)
  touched[1] = put(op.key, op)
end
function ops.put_each(op, touched)
  for _, key in ipairs(members(op.select)) do touched[#touched + 1] = put(key, op) end
end
function ops.delete(op, touched)
  touched[1] = delete(op.key)
end
function ops.delete_each(op, touched)
  for _, key in ipairs(members(op.select)) do touched[#touched + 1] = delete(key) end
end

local results = {}
for _, op in ipairs(commit.ops) do
  local kind, arg = next(op)
  local touched = {}
  ops[kind](arg, touched)
  results[#results + 1] = touched
end
if head ~= before then redis.call('SET', prefix .. 'head', string.format('%d', head)) end
return {head, results}
