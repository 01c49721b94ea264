--[[
Marks a hash as written by an older projection from an unknown record. The projector then replaces
the hash when it applies the customer's newest event again, even if the hash has the same or a newer
version. Until then readers can still read the hash. Does nothing if the key has no hash.

KEYS[1]  key of the customer
Reply    1

The script is atomic, because the customer may be erased at the same time.
]]
local fields = redis.pcall('HLEN', KEYS[1])
if type(fields) == 'table' then
  -- The projector replaces a key that is not a hash.
  if not string.find(fields.err, 'WRONGTYPE', 1, true) then error(fields.err, 0) end
elseif fields > 0 then
  redis.call('HSET', KEYS[1], '_projection', '0', '_source', '')
end
return 1
