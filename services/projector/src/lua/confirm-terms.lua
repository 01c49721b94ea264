--[[
Ends the pending form of the field _index, after the entries of the customers were updated.

KEYS     for each customer: the key of its hash, or of its mark. On Redis Cluster all keys must be in
         one slot.
ARGV     for each customer: text of _index that the caller has read; new text, '' to delete the field

Reply    the number of each customer whose field was not replaced, because it has changed

If the field has changed, another event of the customer was applied, and the entries of that event
are not updated yet. So the comparison and the write are atomic.
]]
local changed = {}
for i, key in ipairs(KEYS) do
  local old, new = ARGV[2 * i - 1], ARGV[2 * i]
  if redis.call('HGET', key, '_index') ~= old then
    changed[#changed + 1] = i
  elseif new ~= old then
    -- Two commands make a transaction: see store_twice in apply-snapshots.lua. Otherwise Redis
    -- could keep the field, but not the entries that it names. HDEL is first, because Redis checks
    -- its memory limit only before the first write of a script, and never for HDEL. So this script
    -- also works on a full Redis.
    redis.call('HDEL', key, '_index')
    redis.call('HSET', key, '_index', new)
    if new == '' then redis.call('HDEL', key, '_index') end
  end
end
return changed
