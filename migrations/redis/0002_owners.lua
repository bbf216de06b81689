-- Who delivers for which watches. Watches are divided into 128 parts by their id; a part has one owner at a time.
--   agents   a hash of the processes that deliver: id -> until when it counts as alive (Redis's own time, in
--            milliseconds), a space, its name
--   parts    a hash: number -> owner's id (`-`: nobody), a space, the fencing number, which grows with each owner
--   r:KEY    of a watch has `notes` too: what its owner has written down about its deliveries
-- Both hashes are filled as they are used.
return redis.status_reply('OK')
