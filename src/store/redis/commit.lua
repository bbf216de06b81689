-- Some commits: what is due, and then for each its checks and its operations with their events, in one step of Redis.
-- Goes behind `change.lua`.
-- ARGV[5]… of each the commit (`primitives::Commit`) as MessagePack, its time, and the values of its fields one by one,
--          since Redis reads no binary strings from MessagePack
-- Returns  {the clock, its `resumed`, {outcome, …}}, an outcome being {head, {op, …}} and an op
--          {{key, action, id, revision, created, updated, record}, …}, or, when a check does not hold, {head, check, revision};
--          when more is due than is ended at once, {the clock, resumed}: the commits are to be sent again
local commits, gives, argument = {}, false, 5
while ARGV[argument] do
  local commit = cmsgpack.unpack(ARGV[argument])
  argument = argument + 1
  commit.time = ARGV[argument]
  for _, op in ipairs(commit.ops) do
    local _, arg = next(op)
    for _, field in ipairs(arg.edit and arg.edit.set or NONE) do
      argument = argument + 1
      field[2] = ARGV[argument]
    end
    gives = gives or type(arg.lease) == 'table' or arg.lease == 'renew'
  end
  commits[#commits + 1] = commit
  argument = argument + 1
end
local _, more = settle(gives)
if more then
  save_head()
  return answer()
end

-- Whether a check holds, and the revision of the record it is about. Each function that a script makes takes its
-- time, so there is one for all kinds of checks.
local function holds(kind, arg)
  if kind == 'absent' then
    local revision = redis.call('HGET', record_at(arg), 'rev')
    return not revision, revision
  elseif kind == 'exists' then
    return redis.call('EXISTS', record_at(arg)) == 1
  elseif kind == 'revision' then
    local revision = redis.call('HGET', record_at(arg[1]), 'rev')
    for _, wanted in ipairs(arg[2]) do
      if revision and tonumber(revision) == wanted then return true end
    end
    return false, revision
  elseif kind == 'field' then
    return redis.call('HEXISTS', record_at(arg[1]), 'f:' .. arg[2]) == 1, redis.call('HGET', record_at(arg[1]), 'rev')
  elseif kind == 'any' then
    return #members(arg, 1) > 0
  elseif kind == 'members' then
    local found = members({index = arg[1], prefix = ''})
    if #found ~= #arg[2] then return false end
    for _, wanted in ipairs(arg[2]) do
      if not redis.call('ZSCORE', index_at(arg[1]), wanted) then return false end
    end
    return true
  elseif kind == 'leased' then
    local owner, revision = unpack(redis.call('HMGET', record_at(arg[1]), 'l:owner', 'rev'))
    return owner == arg[2], revision
  elseif kind == 'held' then
    return redis.call('HGET', prefix .. 'parts', arg.part) == string.format('%s %d', arg.owner, arg.fence)
  elseif kind == 'room' then
    local needed, taken = 0, 0
    for _, key in ipairs(arg.keys) do needed = needed + 1 - redis.call('EXISTS', record_at(key)) end
    if needed == 0 then return true end
    for _, index in ipairs(arg.indexes) do taken = taken + redis.call('ZCARD', index_at(index)) end
    return taken + needed <= arg.most
  end
  error('a check that is not known here: ' .. kind)
end

local function outcome(commit)
  whole, time, cause, actor = commit.whole, commit.time, commit.cause, commit.actor
  for at, check in ipairs(commit.checks or NONE) do
    local is_so, revision = holds(next(check))
    if not is_so then return {head, at - 1, revision or ''} end
  end
  local results = {}
  for at, op in ipairs(commit.ops) do
    local kind, arg = next(op)
    local touched = {}
    if kind == 'put' then
      touched[1] = put(arg.key, arg)
    elseif kind == 'delete' then
      touched[1] = delete(arg.key, 'delete')
    elseif kind == 'put_each' then
      for _, key in ipairs(members(arg.select)) do touched[#touched + 1] = put(key, arg) end
    else
      for _, key in ipairs(members(arg.select)) do touched[#touched + 1] = delete(key, 'delete') end
    end
    results[at] = touched
  end
  return {head, results}
end

local outcomes = {}
for at, commit in ipairs(commits) do
  outcomes[at] = outcome(commit)
  -- Now, as Redis may stop a later one in its middle, and that must not take this one with it.
  save_head()
end
return answer(outcomes)
