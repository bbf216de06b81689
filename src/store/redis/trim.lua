-- Removes some of the oldest events beyond what is kept, but never the newest.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     how many events are kept, and from which time on (ms);
--          the most events to remove, and about the most bytes, judged by the oldest one
-- An entry is {id, {'t', TIME, 'a', …, 'k', …, 'r', RECORD}}, as `commit.lua` adds it.
-- Returns  {the oldest revision now, how many were removed, whether there may be more}
local log = KEYS[1] .. 'log'
local keep, since = tonumber(ARGV[1]), tonumber(ARGV[2])

local function number(entry) return tonumber(string.match(entry[1], '^%d+')) end
local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
if not first then return {1, 0, 0} end
local oldest = number(first)
local newest = number(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1])
local most = math.max(1, math.min(tonumber(ARGV[3]), math.floor(tonumber(ARGV[4]) / #first[2][#first[2]])))

-- Revisions have no holes, so the first event that is young enough is found by halving, in a few reads.
local function is_old(revision)
  local id = string.format('%d-0', revision)
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry ~= nil and tonumber(entry[2][2]) < since
end
local function first_young(from, to)
  if from >= to or not is_old(from) then return from end
  if is_old(to - 1) then return to end
  while from < to do
    local middle = math.floor((from + to) / 2)
    if is_old(middle) then from = middle + 1 else to = middle end
  end
  return from
end

local last = math.min(oldest + most, newest)
local stays = math.max(oldest, math.min(newest + 1 - keep, last))
stays = first_young(stays, last)
if stays == oldest then return {oldest, 0, 0} end
redis.call('XTRIM', log, 'MINID', string.format('%d-0', stays))
return {stays, stays - oldest, stays == oldest + most and 1 or 0}
