-- Which revisions the log has.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- An entry is {id, {'t', TIME, …}}, as `commit.lua` adds it.
-- Returns  {the oldest revision, the time of its event, the newest revision}; {1, 0, 0} for an empty log
local first = redis.call('XRANGE', KEYS[1] .. 'log', '-', '+', 'COUNT', 1)[1]
if not first then return {1, '0', 0} end
local newest = redis.call('GET', KEYS[1] .. 'head')
return {tonumber(string.match(first[1], '^%d+')), first[2][2], tonumber(newest or '0')}
