--[[
Adds ids of a dealer's events in one hour, and stores the number of different ids.

KEYS[1]  HyperLogLog of the ids of the hour
KEYS[2]  string with the number of each hour of the week, 32 bits each
ARGV[1]  index of the hour in KEYS[2]
ARGV[2]  time to live of KEYS[1], milliseconds
ARGV[3]  time to live of KEYS[2], milliseconds
then     ids

The script is atomic, because several projectors count the events of one dealer. The number never
falls, so ids that Redis has lost do not lower it.
]]
redis.call('PFADD', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local index = '#' .. ARGV[1]
local found = redis.call('PFCOUNT', KEYS[1])
if found > redis.call('BITFIELD', KEYS[2], 'GET', 'u32', index)[1] then
  redis.call('BITFIELD', KEYS[2], 'SET', 'u32', index, found)
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return found
