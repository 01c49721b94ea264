--[[
Moves the position of a partition back to an offset, so that the owner of the partition applies the
records from this offset again.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  offset

Reply    1 = the position was beyond the offset and was moved back
         0 = the position was not beyond the offset

The token of the position is deleted in both cases. The token shows that the owner has written a
chunk, but has not moved the position yet. If the token is missing, the owner writes and publishes
this chunk again. The script is atomic, because the owner may move the position at the same time.
]]
redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')
local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not stored or stored <= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
