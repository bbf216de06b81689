-- The log from a revision: at most a number of events, and fewer, but at least one, where they are large.
-- KEYS[1]  what every key begins with, `{namespace}:`
-- ARGV     the first revision, the most events, about the most bytes
-- Returns  entries, as XRANGE gives them
local limit, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local from, found, bytes = ARGV[1] .. '-0', {}, 0
while #found < limit and bytes < most do
  local entries = redis.call('XRANGE', KEYS[1] .. 'log', from, '+', 'COUNT', math.min(16, limit - #found))
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    if bytes >= most then break end
    found[#found + 1] = entry
    bytes = bytes + #entry[2][#entry[2]]
    from = '(' .. entry[1]
  end
end
return found
