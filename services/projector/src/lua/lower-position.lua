--[[
Makes sure that the owner of a partition applies the records from an offset again, if it has gone
beyond or is about to.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  offset

Reply    1 = the position was beyond the offset and was moved back
         0 = it was not beyond

The token beside the position is deleted in both cases. So a chunk that is written, but whose
position has not moved yet, is written and published again.
The script is atomic, because the owner moves the position at the same time.
]]
redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')
local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not stored or stored <= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
