--[[
Changes the metadata of a hash as if an older projection had written it from an unknown record. When
the projector applies the customer's newest event again, it replaces this hash, even if the hash has
the same or a newer version. Until then clients can still read the hash. Does nothing if the key has
no hash.

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
