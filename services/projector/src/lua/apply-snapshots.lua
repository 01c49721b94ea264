--[[
Applies snapshots of many customers: each replaces its customer's whole hash if it is newer than the stored one. On one Redis it also moves
the position of their partition, in the same call.

KEYS[i]  key of customer i; on Redis Cluster all of one slot
         after them, if ARGV[5] is not '': the hash of positions
ARGV[1]  number of the projection that writes
ARGV[2]  how the _source of the chunk's records begins, topic/partition/
ARGV[3]  the oldest offset of the partition that Kafka has
ARGV[4]  the next offset to apply
ARGV[5]  field of the position, topic/partition; '' leaves positions alone, and ARGV[6] to ARGV[8] are missing
ARGV[6]  the offset expected there
ARGV[7]  token that the call before this one has left; '' if this is the first of a chunk
ARGV[8]  token to leave for the next call; '' if this is the last of a chunk, which moves the position
then for each customer in the order of KEYS:
         timestamp, event id, count of the following, field, value, field, value, ...

Reply    first 1 = done; 0 = the position is elsewhere, nothing was written; -1 = the token is missing, nothing was written
         then for each customer 1 = applied, 0 = duplicate (the same event is stored), -1 = stale (a newer one is stored)

Atomic because compare and replace must not be torn apart by another projector, because a reader must never see half a customer, and
because a position must not move on a Redis that lacks the customers it stands for.
The field names are META of @customer-stream/schemas; the order of versions is compareVersions there.
]]
local projection = tonumber(ARGV[1])
local place, oldest, next_offset = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local position = ARGV[5]
local cursor = 6
local customers = #KEYS
local reply = { 1 }

if position ~= '' then
  cursor = 9
  customers = customers - 1
  local stored = redis.call('HGET', KEYS[#KEYS], position) or ''
  -- The position may already be there: the reply of an earlier attempt may have been lost.
  if stored ~= ARGV[6] and stored ~= ARGV[4] then return { 0 } end
  if ARGV[7] ~= '' and redis.call('HGET', KEYS[#KEYS], position .. '#token') ~= ARGV[7] then return { -1 } end
end

-- By bytes. Lua's own < on strings follows the server's locale: replicas and replays would disagree.
local function compare_bytes(a, b)
  if a == b then return 0 end
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x - y end
  end
  return #a - #b
end

-- Whether a rebuild may still meet the record that a hash names. It began at the oldest record and has met all before next_offset.
local function may_come(source)
  if not source or string.sub(source, 1, #place) ~= place then return false end
  local offset = tonumber(string.match(string.sub(source, #place + 1), '^%d+$'))
  return offset and (offset >= next_offset or offset < oldest)
end

local function compare_with_stored(key, timestamp, id)
  local stored = redis.pcall('HMGET', key, '_eventTimestamp', '_eventId', '_projection', '_source')
  if stored.err then
    -- A key of ours that is no hash holds no customer: it is replaced. Any other error is an outage.
    if string.find(stored.err, 'WRONGTYPE', 1, true) then return 1, true end
    error(stored.err, 0)
  end
  local stored_timestamp = tonumber(stored[1] or '')
  if not stored_timestamp or not stored[2] then return 1 end
  local order = timestamp - stored_timestamp
  if order == 0 then order = compare_bytes(id, stored[2]) end
  local is_rebuild = projection > (tonumber(stored[3] or '') or 0)
  -- A rebuild writes the same event again, in the new layout. It believes in a newer one only if its record may still come.
  if is_rebuild and (order == 0 or (order < 0 and not may_come(stored[4]))) then return 1 end
  return order
end

-- Fields that the new snapshot lacks, and a time to live that somebody gave the key: HSET keeps both.
local function remove_rest(key, first, last)
  if redis.call('HLEN', key) > (last - first + 1) / 2 then
    local current = {}
    for at = first, last, 2 do current[ARGV[at]] = true end
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if not current[field] then redis.call('HDEL', key, field) end
    end
  end
  redis.call('PERSIST', key)
end

for i = 1, customers do
  local key = KEYS[i]
  local timestamp, id, count = tonumber(ARGV[cursor]), ARGV[cursor + 1], tonumber(ARGV[cursor + 2])
  local first = cursor + 3
  local last = cursor + 2 + count
  cursor = last + 1
  local order, is_no_hash = compare_with_stored(key, timestamp, id)
  if order > 0 then
    if is_no_hash then
      -- SET first, since for DEL Redis does not check its memory limit.
      redis.call('SET', key, '')
      redis.call('DEL', key)
    end
    -- Never gone in between: of a slot that is about to move Redis Cluster lets a script make no key, so that one deleted first would stay deleted. And the first
    -- write is one for which Redis checks its memory limit, as it does once in a script: out of memory fails the call before anything has changed.
    -- unpack takes at most some 8000 values.
    for from = first, last, 4000 do
      redis.call('HSET', key, unpack(ARGV, from, math.min(from + 3999, last)))
    end
    local done, failure = pcall(remove_rest, key, first, last)
    if not done then
      -- A right is missing. Without a version the hash does not count as this event, which is then applied again when the right is granted.
      redis.call('HSET', key, '_eventTimestamp', '')
      error(failure, 0)
    end
    reply[i + 1] = 1
  elseif order == 0 then
    reply[i + 1] = 0
  else
    reply[i + 1] = -1
  end
end

if position ~= '' then
  if ARGV[8] ~= '' then
    redis.call('HSET', KEYS[#KEYS], position .. '#token', ARGV[8])
  else
    redis.call('HSET', KEYS[#KEYS], position, ARGV[4])
    if ARGV[7] ~= '' then redis.call('HDEL', KEYS[#KEYS], position .. '#token') end
  end
end
return reply
