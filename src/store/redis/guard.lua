-- Before everything else: nothing can be done with a store that is being restored.
-- KEYS[1]  what every key begins with, `{namespace}:`
local head_key = KEYS[1] .. 'head'
local known_head = redis.call('GET', head_key)
if known_head and string.sub(known_head, 1, 9) == 'restoring' then
  return redis.error_reply('RESTORING a snapshot is being restored into the store, or was and that did not end')
end
