-- Answers a list of queries, all of the same revision, behind what is due.
-- Goes behind `clock.lua`, and a function `settle_some` that ends some of what is due and tells whether there may be more.
-- ARGV[5]  the queries (`primitives::Query`) as MessagePack
-- Returns  {the clock, its `resumed`, head, {answer, …}}, an answer being a count or {key, record, key, record, …};
--          when more is due than is ended at once, {the clock, resumed}: they are to be sent again
local queries = cmsgpack.unpack(ARGV[5])
if is_due() and settle_some() then return answer() end

local function record_at(key) return prefix .. 'r:' .. key end
local function index_at(index) return prefix .. 'i:' .. index end

local function fits(at, list)
  for _, field in ipairs(list.equals) do
    if redis.call('HGET', at, 'f:' .. field[1]) ~= field[2] then return false end
  end
  for _, index in ipairs(list.within) do
    if redis.call('HEXISTS', at, 'i:' .. index) == 0 then return false end
  end
  return true
end

-- A record with the lengths of some fields' values in place of these.
local function with_lengths(at, prefixes)
  local flat = {}
  for _, name in ipairs(redis.call('HKEYS', at)) do
    local short = false
    for _, prefix in ipairs(prefixes) do
      if string.sub(name, 1, 2 + #prefix) == 'f:' .. prefix then short = true end
    end
    flat[#flat + 1] = name
    flat[#flat + 1] = short and tostring(redis.call('HSTRLEN', at, name)) or redis.call('HGET', at, name)
  end
  return flat
end

local function add(found, key, lengths)
  local flat = lengths and #lengths > 0 and with_lengths(record_at(key), lengths) or redis.call('HGETALL', record_at(key))
  if #flat > 0 then
    found[#found + 1] = key
    found[#found + 1] = flat
  end
  return flat
end

local answers = {}
function answers.get(key)
  local found = {}
  add(found, key)
  return found
end
function answers.list(list)
  local prefix = list.select.prefix
  local from, to = '-', '+'
  -- \255 is in no key, as keys are UTF-8.
  if prefix ~= '' then from, to = '[' .. prefix, '(' .. prefix .. '\255' end
  if list.after and not precedes(list.after, prefix) then from = '(' .. list.after end
  local limit = list.limit or math.huge
  -- With filters more is looked at than is found.
  local found, chunk = {}, (#list.equals + #list.within > 0) and 1000 or math.min(1000, limit)
  local bytes, most = 0, list.bytes or math.huge
  while #found / 2 < limit and bytes < most do
    local keys = redis.call('ZRANGEBYLEX', index_at(list.select.index), from, to, 'LIMIT', 0, chunk)
    if #keys == 0 then break end
    for _, key in ipairs(keys) do
      if #found / 2 >= limit or bytes >= most then break end
      if fits(record_at(key), list) then
        local flat = add(found, key, list.lengths)
        for at = 2, #flat, 2 do bytes = bytes + #flat[at] end
      end
    end
    from = '(' .. keys[#keys]
  end
  return found
end
function answers.members_of(collection)
  local seen, keys = {}, {}
  for _, group in ipairs(redis.call('ZRANGE', index_at(collection), 0, -1)) do
    for _, key in ipairs(redis.call('ZRANGE', index_at(group), 0, -1)) do
      if not seen[key] then
        seen[key] = true
        keys[#keys + 1] = key
      end
    end
  end
  table.sort(keys, precedes)
  local found = {}
  for _, key in ipairs(keys) do add(found, key) end
  return found
end
function answers.owned_by(owner)
  local names = {'id', 'rev', 'created', 'updated', 'l:ending', 'l:owner', 'l:deadline', 'l:ttl', 'l:graced'}
  local found = {}
  for _, key in ipairs(redis.call('ZRANGE', prefix .. 'o:' .. owner, 0, -1)) do
    local flat = {}
    for at, value in ipairs(redis.call('HMGET', record_at(key), unpack(names))) do
      if value then
        flat[#flat + 1] = names[at]
        flat[#flat + 1] = value
      end
    end
    found[#found + 1] = key
    found[#found + 1] = flat
  end
  return found
end
function answers.count(index)
  return redis.call('ZCARD', index_at(index))
end

local all = {}
for _, query in ipairs(queries) do
  local kind, arg = next(query)
  all[#all + 1] = answers[kind](arg)
end
return answer(tonumber(redis.call('GET', prefix .. 'head') or '0'), all)
