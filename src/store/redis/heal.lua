-- Puts right what a commit has left that Redis stopped in its middle, as it does when a right of the user is taken away
-- while that works: the log has events then that `head` does not know of, and no later event could take their revisions.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- Returns  {what `head` was, what it is}, or nothing where there is nothing to put right
local head = redis.call('GET', KEYS[1] .. 'head') or '0'
-- Of a store that is being restored the log is not whole yet.
if string.sub(head, 1, 9) == 'restoring' then return {} end
local last = redis.call('XREVRANGE', KEYS[1] .. 'log', '+', '-', 'COUNT', 1)[1]
local newest = last and string.match(last[1], '^%d+') or '0'
if tonumber(newest) <= tonumber(head) then return {} end
redis.call('SET', KEYS[1] .. 'head', newest)
return {head, newest}
