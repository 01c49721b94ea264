--[[
Stores the progress of a fill from the state topic, or ends the fill.

KEYS[1]  hash of positions
ARGV[1]  field of the position, topic/partition
ARGV[2]  expected progress, the value of the field with the suffix #fill
ARGV[3]  new progress, '' to end the fill
ARGV[4]  offset to which the position goes back at the end
ARGV[5]  token that must be stored beside the progress, '' to require none

Reply    1 = done
         0 = the stored progress is not ARGV[2], nothing was changed
        -1 = another token or no token is stored, nothing was changed

The script is atomic for two reasons:
- Two projectors may fill one partition for a moment.
- The end of the fill and the lower position must become visible together.
]]
local fill = ARGV[1] .. '#fill'
local stored = redis.call('HGET', KEYS[1], fill) or ''
-- If the reply of an earlier attempt was lost, the new progress is already stored. If the old
-- and the new progress are equal, the token decides.
if stored == ARGV[3] and ARGV[2] ~= ARGV[3] then return 1 end
if stored ~= ARGV[2] then return 0 end
if ARGV[5] ~= '' and redis.call('HGET', KEYS[1], fill .. '#token') ~= ARGV[5] then return -1 end
-- Two commands make a transaction: see store_twice in apply-snapshots.lua. Otherwise Redis could
-- keep the end of the fill, but not its customers.
redis.call('HSET', KEYS[1], fill, ARGV[3])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], fill, ARGV[3])
  return 1
end
local position = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if position and position > tonumber(ARGV[4]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[4]) end
redis.call('HDEL', KEYS[1], fill, fill .. '#token', ARGV[1] .. '#token', ARGV[1] .. '#window')
return 1
