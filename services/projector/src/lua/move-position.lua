--[[
Moves the position of one partition, if it still is where the caller expects it.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  the offset expected, '' for none
ARGV[3]  the next offset to apply
ARGV[4]  token that must stand beside the position, '' for none

Reply    1 = it now is ARGV[3]; 0 = it is elsewhere and was left alone. An error if the token is missing.

Atomic because two projectors may hold one partition for a moment. A position that already is ARGV[3] counts as moved: the reply of an
earlier attempt may have been lost.
]]
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[3] then return 1 end
if stored ~= ARGV[2] then return 0 end
if ARGV[4] ~= '' then
  if redis.call('HGET', KEYS[1], ARGV[1] .. '#token') ~= ARGV[4] then
    return redis.error_reply('ERR the token beside the position is missing: this Redis may lack what was just applied')
  end
  redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
