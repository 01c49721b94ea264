--[[
Deletes the hash of an erased customer, and marks the customer as erased.

KEYS[1]  key of the customer
KEYS[2]  key of the mark, in the same slot
ARGV[1]  scope of the erasure, 'forever' or 'until-now'
ARGV[2]  time of the erasure, Unix milliseconds
ARGV[3]  place of the erasure's record, id of the erasures topic/partition
ARGV[4]  offset of the record

Reply    first:  1 = the customer has no hash now
                -1 = the hash was kept: the erasure is 'until-now' and the hash has a newer event, or a
                     later erasure of the customer was executed
         second: text of the field _index, '' if the customer has no entries in indexes. The caller
                 removes these entries, then calls confirm-terms.lua with the mark and this text.
         third:  text of the field _index of a hash that was kept. The caller keeps these entries.

The mark keeps the field _index of the deleted hash until the entries are removed.

A projector may lose its partition, not notice, and execute an old erasure after the new owner has
executed a later erasure. So an erasure with a lower offset changes nothing.

The script is atomic, because an event of the customer may be applied at the same time. DEL comes
first, so that a customer can be erased from a full Redis. Redis checks its memory limit only before
the first write of a script, and never for DEL.
]]
local mark = redis.call('HMGET', KEYS[2], 'partition', 'offset', '_index')
if mark[1] == ARGV[3] and tonumber(mark[2]) > tonumber(ARGV[4]) then return { -1, '', '' } end
local stored = redis.pcall('HMGET', KEYS[1], '_eventTimestamp', '_index')
if stored.err then
  if not string.find(stored.err, 'WRONGTYPE', 1, true) then error(stored.err, 0) end
  stored = {}
end
local timestamp = tonumber(stored[1] or '')
local stays = ARGV[1] == 'until-now' and timestamp and timestamp > tonumber(ARGV[2])
local index = mark[3] or ''
if not stays then
  redis.call('DEL', KEYS[1])
  if stored[2] then index = (index == '' and '?' or index .. '\n') .. string.gsub(stored[2], '^%?', '') end
end
redis.call('HSET', KEYS[2], 'scope', ARGV[1], 'erasedAt', ARGV[2], 'partition', ARGV[3], 'offset', ARGV[4])
if index ~= '' then redis.call('HSET', KEYS[2], '_index', index) end
return { stays and -1 or 1, index, stays and stored[2] or '' }
