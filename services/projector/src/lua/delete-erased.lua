--[[
Deletes the hash of an erased customer.

KEYS[1]  key of the customer
KEYS[2]  key of the mark, in the same slot
ARGV[1]  time of the erasure, Unix milliseconds

Reply    first:  the greatest timestamp of an event whose entries in indexes must be removed
         second: text of the field _index, '' if the customer has no entries in indexes. The caller
                 removes these entries, then calls confirm-terms.lua with the mark and this text.
         third:  text of the field _index of a hash that was kept. The caller keeps these entries.

If the event of the hash was received after ARGV[1], the hash stays. The mark keeps the field _index
of the deleted hash until the entries are removed. The script is atomic, because a newer event may be
applied at the same time.
]]
local index = redis.call('HGET', KEYS[2], '_index') or ''
local stored = redis.call('HMGET', KEYS[1], '_receivedAt', '_eventTimestamp', '_index')
local received = tonumber(stored[1] or '')
local limit = tonumber(ARGV[1])
local kept = stored[3] or ''
if received and received <= limit then
  redis.call('DEL', KEYS[1])
  kept = ''
  limit = math.max(limit, tonumber(stored[2] or '') or 0)
  if stored[3] then
    index = (index == '' and '?' or index .. '\n') .. string.gsub(stored[3], '^%?', '')
    redis.call('HSET', KEYS[2], '_index', index)
  end
end
return { string.format('%.0f', limit), index, kept }
