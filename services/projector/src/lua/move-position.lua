--[[
Moves the position of one partition, if it equals the offset that the caller expects.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  expected offset, '' if none is stored
ARGV[3]  next offset to apply
ARGV[4]  token that must be stored beside the position, '' to require none
ARGV[5]  window of the lookahead that the position moves in, start/end, '' if there is none
ARGV[6]  id of the state topic that has all documents before the new position, '' if there is none
ARGV[7]  how far erasures are executed, id of the erasures topic/offset, '' to change nothing

Reply    1 = the position now is ARGV[3]
         0 = the position is elsewhere and was not changed
        -1 = the token is missing, nothing was changed

The script is atomic, because two projectors may have the same partition for a moment. Without a
token, a position that already is ARGV[3] counts as moved, because the reply of an earlier attempt
may have been lost. With a token it counts only if the token is there. Otherwise another projector
may have moved it.
]]
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored ~= ARGV[2] and stored ~= ARGV[3] then return 0 end
if ARGV[4] ~= '' then
  if redis.call('HGET', KEYS[1], ARGV[1] .. '#token') ~= ARGV[4] then return -1 end
  redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#window', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#state', ARGV[6] .. '/' .. ARGV[3]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#erasures', ARGV[7]) end
return 1
