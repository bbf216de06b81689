-- Tries every command of the scripts in a way that changes nothing, so that no commit is stopped halfway by a right
-- that its user does not have.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- Returns  the names of the commands that are refused
local key = KEYS[1] .. 'rights'
local calls = {
  {'DEL', key}, {'EXISTS', key}, {'GET', key}, {'SET', key, '', 'XX'}, {'TIME'},
  {'HDEL', key, 'f'}, {'HEXISTS', key, 'f'}, {'HGET', key, 'f'}, {'HGETALL', key}, {'HKEYS', key},
  {'HMGET', key, 'f'}, {'HSTRLEN', key, 'f'}, {'HSETNX', key, 'f', ''}, {'HSET', key, 'f', ''}, {'DEL', key},
  {'XADD', key, 'NOMKSTREAM', '*', 'f', ''}, {'XRANGE', key, '-', '+'}, {'XREVRANGE', key, '+', '-'},
  {'XTRIM', key, 'MAXLEN', 0}, {'ZADD', key, 'XX', 0, 'm'}, {'ZCARD', key}, {'ZRANGE', key, 0, -1},
  {'ZRANGEBYLEX', key, '-', '+'}, {'ZRANGEBYSCORE', key, '-inf', '+inf'}, {'ZREM', key, 'm'}, {'ZSCORE', key, 'm'},
}
local refused = {}
for _, call in ipairs(calls) do
  local answer = redis.pcall(unpack(call))
  local words = type(answer) == 'table' and answer.err
  if words and (string.find(words, 'NOPERM', 1, true) or string.find(words, "can't run", 1, true)
      or string.find(words, "can't access", 1, true)) then
    refused[#refused + 1] = call[1]
  end
end
return refused
