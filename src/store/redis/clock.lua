-- The clock that leases go by, as `store::clock` explains it.
-- Goes behind the constants of `store::clock`, in milliseconds, and the size of a chunk: PAUSE, TICK, GRACE, STEP, CHUNK.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV[1]  what the clock should be by the caller's reckoning, and by how much it may be ahead of that for others; empty
--          before its first reading
-- ARGV[2]  the wall clock, where that is another than Redis's own; else empty
-- ARGV[3]  when the caller keeps the clock, the name that the Redis it is connected to has given itself at its start; else
--          empty. The clock's `run` is that name at its last tick: where it is another one now, renewals of leases may be
--          lost, as replicas and append-only files may be behind, and so the clock counts as having stood still
local prefix = KEYS[1]
local deadlines = prefix .. 'deadlines'

local function wall()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local keeps, went_on = ARGV[3] ~= '', false
-- All nil until the clock is looked at, which nothing needs where there is no lease. A lease that is given counts from
-- `given` on: what the clock may be for others, or who is ahead would end it too early.
local now, given, resumed, tick, ahead

local function look()
  if now then return end
  local kept = redis.call('HMGET', prefix .. 'clock', 'tick', 'ahead', 'resumed', 'run')
  local is_another = keeps and kept[4] and kept[4] ~= ARGV[3]
  local went_back = false
  tick, ahead, resumed = tonumber(kept[1] or ''), tonumber(kept[2] or '0'), tonumber(kept[3] or '0')
  local expected, lead = string.match(ARGV[1], '^(%d+) (%d+)$')
  now = tonumber(expected)
  if not now then
    now = wall() + ahead
    went_back = tick and now + PAUSE < tick
  end
  local most = now + tonumber(lead or '0')
  given = most
  if not tick then return end
  now = math.max(now, tick)
  given = math.max(most, now)
  if now - tick > PAUSE or went_back or is_another then
    went_on = keeps
    now = keeps and math.max(now, tick + 1) or tick
    given = keeps and math.max(most, now) or now
    if keeps then resumed = now end
  end
end

-- Writes a tick, if one is due.
local function advance()
  local off = now - wall()
  local stepped = math.abs(off - ahead) > STEP
  if tick and not (keeps and (now >= tick + TICK or went_on or stepped)) then return end
  if stepped then ahead = off end
  redis.call('HSET', prefix .. 'clock', 'tick', string.format('%d', now), 'ahead', string.format('%d', ahead),
    'resumed', string.format('%d', resumed))
  if keeps then redis.call('HSET', prefix .. 'clock', 'run', ARGV[3]) end
end

-- Whether Redis takes writes now. Where it is out of memory, cannot save or has too few replicas nobody can renew a lease
-- either, so the clock stands still, and whoever reads is answered all the same.
local function can_write()
  local answer = redis.pcall('SET', prefix .. 'writes', '', 'XX')
  local words = type(answer) == 'table' and answer.err or ''
  for _, word in ipairs({'OOM', 'MISCONF', 'NOREPLICAS'}) do
    if string.find(words, word, 1, true) then
      now = tick or now
      given = now
      return false
    end
  end
  return true
end

-- When the next lease is due, before its grace.
local function next_deadline()
  return tonumber(redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')[2] or '')
end

-- Whether a lease is due, its grace apart.
local function is_due()
  local first = next_deadline()
  if not first then return false end
  look()
  return first <= now
end

-- What every answer begins with: the clock, if it was looked at, and its `resumed`.
local function answer(...) return {now or -1, resumed or 0, ...} end

