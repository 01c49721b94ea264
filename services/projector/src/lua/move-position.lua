--[[
Moves the position of one partition, if it equals the offset that the caller expects.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  expected offset, '' if none is stored
ARGV[3]  next offset to apply
ARGV[4]  token that must be stored beside the position, '' to require none
ARGV[5]  window of the lookahead that the position moves in, start/end, '' if there is none

Reply    1 = the position now is ARGV[3]
         0 = the position is elsewhere and was not changed
         an error if the token is missing

The script is atomic, because two projectors may have the same partition for a moment. A position
that already is ARGV[3] counts as moved, because the reply of an earlier attempt may have been lost.
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
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#window', ARGV[5]) end
return 1
