-- Ends some of the leases that are due, and ticks the clock.
-- Goes behind `change.lua`.
-- Returns  {the clock, its `resumed`, how many, whether there may be more (1), when the next is due}
look()
local ended, more = settle(next_deadline() ~= nil)
save_head()
return answer(ended, more and 1 or 0, next_deadline())
