--[[
Adds ids of events to the hours of some dealers, and stores the number of different ids of each hour.

KEYS     for each hour of a dealer: the HyperLogLog of the ids of the hour, then
         the string with the number of events in each hour of the week, 32 bits for each hour.
         On Redis Cluster all keys must be in one slot.
ARGV[1]  time to live of a HyperLogLog, milliseconds
ARGV[2]  time to live of a string, milliseconds
then for each hour of a dealer, in the order of KEYS:
         index of the hour in the string, number of the following arguments, id, id, ...

Reply    for each hour of a dealer: '', or the error with which Redis refused these ids. An error of
         one dealer must not delay the ids of the other dealers.

The script is atomic, because several projectors count the events of one dealer. The number never
falls, even if Redis has lost ids.
]]
local function count(ids, counts, index, first, last)
  redis.call('PFADD', ids, unpack(ARGV, first, last))
  redis.call('PEXPIRE', ids, ARGV[1])
  local found = redis.call('PFCOUNT', ids)
  if found > redis.call('BITFIELD', counts, 'GET', 'u32', index)[1] then
    redis.call('BITFIELD', counts, 'SET', 'u32', index, found)
  end
  redis.call('PEXPIRE', counts, ARGV[2])
end

local reply = {}
local cursor = 3
for i = 1, #KEYS, 2 do
  local first = cursor + 2
  local last = cursor + 1 + tonumber(ARGV[cursor + 1])
  local done, failure = pcall(count, KEYS[i], KEYS[i + 1], '#' .. ARGV[cursor], first, last)
  cursor = last + 1
  -- Before Redis 7 an error is a string.
  reply[#reply + 1] = done and '' or type(failure) == 'table' and failure.err or tostring(failure)
end
return reply
