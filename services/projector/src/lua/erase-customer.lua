--[[
Deletes the hash of an erased customer, and marks the customer as erased.

KEYS[1]  key of the customer
KEYS[2]  key of the mark, in the same slot
ARGV[1]  scope of the erasure, 'forever' or 'until-now'
ARGV[2]  time of the erasure, Unix milliseconds
ARGV[3]  place of the erasure's record, id of the erasures topic/partition
ARGV[4]  offset of the record

Reply    1 = the customer has no hash now
        -1 = the hash was kept: the erasure is 'until-now' and the hash has a newer event, or a later
             erasure of the customer was executed

A projector may lose its partition, not notice, and execute an old erasure after the new owner has
executed a later erasure. So an erasure with a lower offset changes nothing.

The script is atomic, because an event of the customer may be applied at the same time. DEL comes
first, so that a customer can be erased from a full Redis. Redis checks its memory limit only before
the first write of a script, and never for DEL.
]]
local mark = redis.call('HMGET', KEYS[2], 'partition', 'offset')
if mark[1] == ARGV[3] and tonumber(mark[2]) > tonumber(ARGV[4]) then return -1 end
local stored = redis.pcall('HGET', KEYS[1], '_eventTimestamp')
if type(stored) == 'table' and stored.err and not string.find(stored.err, 'WRONGTYPE', 1, true) then
  error(stored.err, 0)
end
local timestamp = type(stored) == 'string' and tonumber(stored)
local stays = ARGV[1] == 'until-now' and timestamp and timestamp > tonumber(ARGV[2])
if not stays then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[2], 'scope', ARGV[1], 'erasedAt', ARGV[2], 'partition', ARGV[3], 'offset', ARGV[4])
return stays and -1 or 1
