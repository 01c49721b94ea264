--[[
Moves the position of one partition, if the stored position is the expected offset.

KEYS[1]  hash of positions
ARGV[1]  field, topic/partition
ARGV[2]  expected offset, '' if none is stored
ARGV[3]  next offset to apply
ARGV[4]  token that must be stored beside the position, '' to require none
ARGV[5]  lookahead's window to which the chunk belongs, start/end, '' if there is none
ARGV[6]  id of the state topic that has all documents before the new position, '' if there is none
ARGV[7]  position in the erasures topic, three parts with slashes between them: id of the topic, next
         offset to execute, id of the state topic that has the tombstones. '' to change nothing.
ARGV[8]  settings of the indexes with which the positions were claimed, '' if indexes are off

Reply    1 = the position now is ARGV[3]
         0 = the stored position is neither ARGV[2] nor ARGV[3], nothing was changed
        -1 = another token or no token is stored, or a first position has no claim with ARGV[8].
             Nothing was changed

The script is atomic, because two projectors may have the same partition for a moment. If the
position already is ARGV[3], the reply of an earlier attempt may have been lost, so the reply is 1.
But if ARGV[4] is required and not stored, another projector may have moved the position, so the reply
is -1.
]]
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored ~= ARGV[2] and stored ~= ARGV[3] then return 0 end
-- Redis may have been emptied after the claim. A first position without the claim would look like a
-- position whose customers have no indexes, and the next claim would be refused.
local topic = string.match(ARGV[1], '^(.*)/')
if stored == '' and (redis.call('HGET', KEYS[1], topic .. '/indexes') or '') ~= ARGV[8] then return -1 end
if ARGV[4] ~= '' then
  if redis.call('HGET', KEYS[1], ARGV[1] .. '#token') ~= ARGV[4] then return -1 end
  redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')
end
-- Two commands make a transaction: see store_twice in apply-snapshots.lua.
for _ = 1, 2 do redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#window', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#state', ARGV[6] .. '/' .. ARGV[3]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. '#erasures', ARGV[7]) end
return 1
