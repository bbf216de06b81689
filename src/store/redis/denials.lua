-- Writes refused requests down behind the others, and lets the oldest go.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     how many are kept, then each request as JSON
local log = KEYS[1] .. 'denials'
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local number = last and tonumber(string.match(last[1], '^%d+')) or 0
for at = 2, #ARGV do
  number = number + 1
  redis.call('XADD', log, 'MAXLEN', ARGV[1], string.format('%d-0', number), 'd', ARGV[at])
end
