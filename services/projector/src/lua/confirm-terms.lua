--[[
Ends the pending form of the field _index, after the entries of the customers were updated.

KEYS     for each customer: the key of its hash, or of its mark. On Redis Cluster all keys must be in
         one slot.
ARGV     for each customer: text of _index that the caller has read; new text, '' to delete the field

Reply    number of customers whose field was replaced

If the field has changed, another event of the customer was applied, and its entries are not updated
yet. So the comparison and the write are atomic.
]]
local confirmed = 0
for i, key in ipairs(KEYS) do
  local old, new = ARGV[2 * i - 1], ARGV[2 * i]
  if redis.call('HGET', key, '_index') == old then
    if new == '' then redis.call('HDEL', key, '_index') else redis.call('HSET', key, '_index', new) end
    confirmed = confirmed + 1
  end
end
return confirmed
