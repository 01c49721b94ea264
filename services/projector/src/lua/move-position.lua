--[[
Moves the position of one partition, if it still is where the caller believes it to be.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  the offset believed to be stored, '' for none
ARGV[3]  the next offset to apply

Reply    1 = it now is ARGV[3]; 0 = it is elsewhere and was left alone

Atomic because two projectors may hold one partition for a moment. A position that already is ARGV[3] counts as moved: the reply of an
earlier try may have been lost.
]]
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[3] then return 1 end
if stored ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
