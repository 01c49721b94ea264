--[[
Adds differences between events and the vendor's documentation to the stored differences.

KEYS[1]  hash of the differences
ARGV[1]  maximum number of stored differences. Further differences are ignored.
then for each difference:
         field, first (Unix milliseconds), last (Unix milliseconds), number of events

Reply    first: number of stored differences
         then for each difference: 1 = the difference was not stored before,
         0 = it was stored before, or the hash is full

The script is atomic, because several projectors add their differences.
]]
local most = tonumber(ARGV[1])
local stored = redis.call('HLEN', KEYS[1])
local reply = { stored }

for at = 2, #ARGV, 4 do
  local field, first, last, events = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local found = redis.call('HGET', KEYS[1], field)
  local is_new = not found and stored < most
  if found then
    local old_first, old_last, old_events = string.match(found, '^(%d+)/(%d+)/(%d+)$')
    if old_first then
      first = math.min(first, tonumber(old_first))
      last = math.max(last, tonumber(old_last))
      events = events + tonumber(old_events)
    end
  end
  if found or is_new then
    redis.call('HSET', KEYS[1], field, string.format('%.0f/%.0f/%.0f', first, last, events))
  end
  if is_new then stored = stored + 1 end
  reply[#reply + 1] = is_new and 1 or 0
end
reply[1] = stored
return reply
