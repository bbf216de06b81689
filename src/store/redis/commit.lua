-- One commit: what is due, all checks, then all operations with their events, in one step of Redis.
-- Goes behind `change.lua`.
-- ARGV[5]  the commit (`primitives::Commit`) as MessagePack; the values of its fields follow one by one, since
--          Redis reads no binary strings from MessagePack
-- Returns  {the clock, its `resumed`, head, {op, …}}, an op being {{key, action, id, revision, created, updated, record}, …};
--          when a check does not hold, {the clock, resumed, head, check, revision};
--          when more is due than is ended at once, {the clock, resumed}: the commit is to be sent again
local commit = cmsgpack.unpack(ARGV[5])
whole = commit.whole
local value, gives = 5, false
for _, op in ipairs(commit.ops) do
  local _, arg = next(op)
  for _, field in ipairs(arg.edit and arg.edit.set or {}) do
    value = value + 1
    field[2] = ARGV[value]
  end
  gives = gives or type(arg.lease) == 'table' or arg.lease == 'renew'
end
local _, more = settle(gives)
if more then
  save_head()
  return answer()
end
cause, actor = commit.cause, commit.actor

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

function checks.leased(arg)
  local owner, revision = unpack(redis.call('HMGET', record_at(arg[1]), 'l:owner', 'rev'))
  return owner == arg[2], revision
end
function checks.held(hold)
  return redis.call('HGET', prefix .. 'parts', hold.part) == string.format('%s %d', hold.owner, hold.fence)
end

function checks.room(room)
  local needed, taken = 0, 0
  for _, key in ipairs(room.keys) do needed = needed + 1 - redis.call('EXISTS', record_at(key)) end
  if needed == 0 then return true end
  for _, index in ipairs(room.indexes) do taken = taken + redis.call('ZCARD', index_at(index)) end
  return taken + needed <= room.most
end

for at, check in ipairs(commit.checks) do
  local kind, arg = next(check)
  local holds, revision = checks[kind](arg)
  if not holds then
    save_head()
    return answer(head, at - 1, revision or '')
  end
end

local ops = {}
function ops.put(op, touched)
  touched[1] = put(op.key, op)
end
function ops.put_each(op, touched)
  for _, key in ipairs(members(op.select)) do touched[#touched + 1] = put(key, op) end
end
function ops.delete(op, touched)
  touched[1] = delete(op.key, 'delete')
end
function ops.delete_each(op, touched)
  for _, key in ipairs(members(op.select)) do touched[#touched + 1] = delete(key, 'delete') end
end

local results = {}
for _, op in ipairs(commit.ops) do
  local kind, arg = next(op)
  local touched = {}
  ops[kind](arg, touched)
  results[#results + 1] = touched
end
save_head()
return answer(head, results)
