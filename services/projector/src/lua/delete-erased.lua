--[[
Deletes the hash of an erased customer.

KEYS[1]  key of the customer
ARGV[1]  time of the erasure, Unix milliseconds

Reply    1 = deleted
         0 = the customer has no hash, or the event of the hash was received later

The script is atomic, because a newer event may be applied at the same time.
]]
local received = tonumber(redis.call('HGET', KEYS[1], '_receivedAt') or '')
if not received or received > tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
