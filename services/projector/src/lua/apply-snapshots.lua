--[[
Applies snapshots of many customers. Each snapshot replaces its customer's whole hash if the snapshot
is newer than the hash. On a single Redis the same call may also add the customer's entries to indexes
and move the position of the partition.

KEYS     the key of each customer,
         then nothing, or the key of each customer's mark, which an erasure has set,
         then the hash of positions if ARGV[7] is not ''.
         On Redis Cluster all keys must be in one slot. On a single Redis, the script makes the keys
         of entries itself. Sent as KEYS, these keys would be an eighth of the bytes of the call.
ARGV[1]  number of the projection that writes
ARGV[2]  prefix of _source for the chunk's records, topic/partition/
ARGV[3]  oldest offset of the partition in Kafka
ARGV[4]  next offset to apply
ARGV[5]  '1' = keep every newer hash of a lower projection, '' = keep a newer hash only if the
         rebuild has not read the record of this hash
ARGV[6]  number of customers
ARGV[7]  field of the position, topic/partition. For a fill: field of its progress. If '', the call does
         not use positions and adds no entries, and ARGV[8] to ARGV[15] are missing.
ARGV[8]  expected value of that field
ARGV[9]  token that the previous call of this chunk has stored. '' in the first call of a chunk.
ARGV[10] token to store for the next call, for move-position.lua, or for move-fill.lua
ARGV[11] lookahead's window to which the chunk belongs, start/end. '' if there is none.
ARGV[12] id of the state topic that has all documents before the new position. '' if there is none.
ARGV[13] '1' = write nothing while the partition is being filled from the state topic, '' = write
         even then
ARGV[14] '1' = this call is the whole chunk and may add all entries: move the position, except if the
         caller must update entries. '' = do not move the position
ARGV[15] prefix of the keys of indexes
then for each customer, in the order of KEYS:
         timestamp, event id, customerUuid, terms of the customer (a JSON array as text, '' for none),
         '1' if the call may add its entries, else '', number of the following arguments, field, value,
         field, value, ...

Reply    first:  2 = done, and the position was moved
                 1 = done, and the token was stored
                 0 = the field ARGV[7] has neither ARGV[8] nor ARGV[4], or the partition is being filled
                     and ARGV[13] is '1': nothing was written
                -1 = another token or no token is stored, nothing was written
         then for each customer:
                 1 = applied
                 0 = duplicate (the same event is stored)
                -1 = stale (a newer event is stored)
                 2 = erased (the customer was erased, nothing was written)
                 3 = nothing was written, because KEYS lacks the mark. Call again with the mark.
                 4 = kept: a newer hash of a lower projection is stored, which a call without ARGV[5]
                     would replace
         then for some customers: number of the customer, text of the field _index. The caller updates
         the entries of these customers. All other customers have the entries of their terms. Only the
         entry in the dealer's index is missing, if the call may not add the customer's entries.

The script adds the entries of a customer only if it need not remove an entry of this customer.

The field _index has the terms under which Redis may have entries of the customer. In its pending form
it begins with '?', and each line has the terms of one event, the newest event last. So the field names
each entry, even after a crash. confirm-terms.lua ends the pending form.

The script is atomic for four reasons:
- No other projector may write between compare and replace.
- A reader must never see a part of a customer.
- A position must not move in a Redis that lacks the customers before it.
- A customer may be erased at the same time.
Field names and order of versions are those of META and compareVersions in @customer-stream/schemas.
]]
local projection = tonumber(ARGV[1])
local place, oldest, next_offset = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keeps_newer = ARGV[5] ~= ''
local customers = tonumber(ARGV[6])
local position = ARGV[7]
local cursor = 8
local reply = { 1 }
local index_prefix = ''
-- The field _index of each customer whose entries the caller must update.
local pending = {}
-- Dealer of each customer. List for each dealer: score, customerUuid, score, customerUuid, ...
local dealer_of, scores_of = {}, {}

if position ~= '' then
  cursor, index_prefix = 16, ARGV[15]
  local stored = redis.call('HGET', KEYS[#KEYS], position) or ''
  -- If an earlier attempt succeeded and its reply was lost, the position is already ARGV[4].
  if stored ~= ARGV[8] and stored ~= ARGV[4] then return { 0 } end
  -- While Redis is being filled, hashes are missing, so an old event would look like the newest
  -- event.
  if ARGV[13] ~= '' and redis.call('HGET', KEYS[#KEYS], position .. '#fill') then return { 0 } end
  if ARGV[9] ~= '' and redis.call('HGET', KEYS[#KEYS], position .. '#token') ~= ARGV[9] then return { -1 } end
end
local has_marks = #KEYS >= 2 * customers

-- Compares strings by bytes. Lua's own < follows the server's locale, so replicas and replays could
-- disagree.
local function compare_bytes(a, b)
  if a == b then return 0 end
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x - y end
  end
  return #a - #b
end

-- Returns true if the rebuild has not read the record that `source` names. The rebuild has read the
-- records from `oldest` up to, not including, `next_offset`.
local function may_come(source)
  if not source or string.sub(source, 1, #place) ~= place then return false end
  local offset = tonumber(string.match(string.sub(source, #place + 1), '^%d+$'))
  return offset and (offset >= next_offset or offset < oldest)
end

-- Returns 1 (apply), 2 (the customer is erased) or 3 (KEYS lacks the mark).
local function reply_by_mark(mark, timestamp)
  if not has_marks then return 3 end
  local erasure = redis.call('HMGET', mark, 'scope', 'erasedAt')
  if not erasure[1] then return 1 end
  if erasure[1] ~= 'until-now' then return 2 end
  return timestamp > tonumber(erasure[2]) and 1 or 2
end

-- Compares an event with the stored event. Returns a table:
-- order       above 0 if the event must be written, 0 if the same event is stored, below 0 if a
--             newer event is stored
-- is_known    true if the stored event shows that the customer is not erased
-- is_update   true if the stored event is an older event, written by the same projection
-- is_higher   true if a higher projection wrote the stored event
-- index       text of the field _index
-- is_kept     true if the newer stored event is kept only because of ARGV[5]
-- is_no_hash  true if the key exists and is not a hash
local function compare_with_stored(key, timestamp, id)
  local stored = redis.pcall('HMGET', key, '_eventTimestamp', '_eventId', '_projection', '_source', '_index')
  if stored.err then
    -- A key that is not a hash is replaced. Any other error is an outage.
    if string.find(stored.err, 'WRONGTYPE', 1, true) then return { order = 1, index = '', is_no_hash = true } end
    error(stored.err, 0)
  end
  local stored_timestamp = tonumber(stored[1] or '')
  local index = stored[5] or ''
  if not stored_timestamp or not stored[2] then return { order = 1, index = index } end
  local order = timestamp - stored_timestamp
  if order == 0 then order = compare_bytes(id, stored[2]) end
  local stored_projection = tonumber(stored[3] or '') or 0
  local is_rebuild = projection > stored_projection
  -- A rebuild writes the same event again, in the new layout. The rebuild keeps a newer stored
  -- event only if the rebuild has not read the record of that event yet.
  if is_rebuild and order == 0 then return { order = 1, is_known = true, index = index } end
  if is_rebuild and order < 0 and not may_come(stored[4]) then
    if keeps_newer then return { order = order, is_known = true, is_kept = true, index = index } end
    return { order = 1, index = index }
  end
  local is_update = order > 0 and not is_rebuild
  local is_higher = stored_projection > projection
  return { order = order, is_known = true, is_update = is_update, is_higher = is_higher, index = index }
end

-- Returns the new text of the field _index, which names all entries that Redis may have.
local function next_index(index, terms)
  if index == terms then return index end
  local events = string.gsub(index, '^%?', '')
  -- A pattern without ^ would need seconds for the terms of 5000 vehicles.
  if (string.match(events, '^.*\n(.*)$') or events) == terms then return index end
  return '?' .. events .. '\n' .. terms
end

-- Returns true if the caller must update entries of the customer. On a single Redis, an update that
-- changes no term needs no new entries. On Redis Cluster the entries are on other masters than the
-- hash, so a failover may have lost entries of the stored event. The event that is applied must
-- then add them again. A paused projector may have added entries for a stale or erased event. The
-- caller must then remove these entries.
local function needs_entries(outcome, stored, terms)
  if stored.index ~= terms then return true end
  local is_on_cluster = position == ''
  return terms ~= '' and outcome ~= -1 and (is_on_cluster or not stored.is_update)
end

-- Adds entries to the index of a term. The key has the form of indexKey in
-- @customer-stream/schemas.
-- Arguments after the term's name and value: score, member, score, member, ...
-- @return false if Redis has refused the entries, e.g. because another program has written to their
-- key
local function add_to_index(name, value, ...)
  local reply = redis.pcall('ZADD', index_prefix .. name .. ':{' .. value .. '}', 'GT', ...)
  return type(reply) ~= 'table' or not reply.err
end

-- Returns the terms in a JSON array: name, value, name, value, ... If the text has no escapes, a
-- pattern is faster than cjson.
local function terms_in(text)
  local terms = {}
  if string.find(text, '\\', 1, true) then
    for i, term in ipairs(cjson.decode(text)) do
      terms[2 * i - 1], terms[2 * i] = string.match(term, '^(%l+):(.*)$')
    end
  else
    for name, value in string.gmatch(text, '"(%l+):([^"]*)"') do
      terms[#terms + 1] = name
      terms[#terms + 1] = value
    end
  end
  return terms
end

-- Adds the customer's score to the indexes of all terms, except the dealer's.
-- @return false if Redis has refused an entry
local function add_entries(terms, score, member)
  local list = terms_in(terms)
  for at = 1, #list, 2 do
    local is_dealer = list[at] == 'dealer'
    if not is_dealer and not add_to_index(list[at], list[at + 1], score, member) then return false end
  end
  return true
end

-- Keeps the customer's score for the index of its dealer. The score is the time of the last change.
-- The dealer's term is the first term.
local function keep_for_dealer(i, terms, score, member)
  if string.sub(terms, 1, 9) ~= '["dealer:' then return end
  local dealer = string.sub(terms, 10, string.find(terms, '"', 10, true) - 1)
  if string.find(dealer, '\\', 1, true) then dealer = terms_in(terms)[2] end
  dealer_of[i] = dealer
  local scores = scores_of[dealer] or {}
  scores_of[dealer] = scores
  local count = #scores
  scores[count + 1], scores[count + 2] = score, member
end

-- Leaves the entries of a customer to the caller. The caller adds them, and then gets the error of
-- Redis. Until then the field _index has its pending form.
local function leave_to_caller(i)
  local index = redis.call('HGET', KEYS[i], '_index')
  if string.sub(index, 1, 1) ~= '?' then
    index = '?\n' .. index
    redis.call('HSET', KEYS[i], '_index', index)
  end
  pending[i] = index
end

-- Removes the key's time to live, and the old fields that the new snapshot lacks. HSET does
-- neither.
local function remove_rest(key, first, last, index)
  if redis.call('HLEN', key) > (last - first + 1) / 2 + (index == '' and 0 or 1) then
    local current = { _index = index ~= '' }
    for at = first, last, 2 do current[ARGV[at]] = true end
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if not current[field] then redis.call('HDEL', key, field) end
    end
  end
  redis.call('PERSIST', key)
end

for i = 1, customers do
  local key = KEYS[i]
  -- Commands get the score as text, because Redis would format a number again for each command.
  local score, id, customer_uuid = ARGV[cursor], ARGV[cursor + 1], ARGV[cursor + 2]
  local timestamp = tonumber(score)
  local terms, may_add = ARGV[cursor + 3], ARGV[cursor + 4] ~= ''
  local first = cursor + 6
  local last = cursor + 5 + tonumber(ARGV[cursor + 5])
  cursor = last + 1
  local stored = compare_with_stored(key, timestamp, id)
  -- Most events need no mark, because the stored event shows that the customer is not erased.
  local outcome = stored.is_kept and 4 or stored.order == 0 and 0 or stored.order < 0 and -1 or stored.is_known and 1
  outcome = outcome or reply_by_mark(KEYS[customers + i], timestamp)
  -- A lower projection may have other indexes, so it must not change entries of a higher
  -- projection.
  local keeps_entries = outcome == 0 and stored.is_higher
  local is_current = outcome == 1 or (outcome == 0 and not keeps_entries)
  local adds_entries = is_current and may_add and (stored.index == '' or stored.index == terms)
  local index = stored.index
  if is_current then index = adds_entries and terms or next_index(index, terms) end
  if outcome == 1 then
    if stored.is_no_hash then
      -- Redis checks its memory limit for SET, but not for DEL. So a full Redis fails before DEL.
      redis.call('SET', key, '')
      redis.call('DEL', key)
    end
    -- Do not delete the hash first: while a slot moves, Redis Cluster allows no script to create a
    -- key. If the key holds a hash or nothing, the first write command is HSET, for which Redis
    -- checks its memory limit. So a full Redis refuses the call before anything has changed.
    -- Each HSET has at most 4002 values, because `unpack` accepts at most about 8000.
    for from = first, last, 4000 do
      local to = math.min(from + 3999, last)
      if to == last and index ~= stored.index then
        redis.call('HSET', key, '_index', index, unpack(ARGV, from, to))
      else
        redis.call('HSET', key, unpack(ARGV, from, to))
      end
    end
    local done, failure = pcall(remove_rest, key, first, last, index)
    if not done then
      -- The user lacks a right. Remove the version from the hash, so that a retry applies the event
      -- again after a person has granted the right.
      redis.call('HSET', key, '_eventTimestamp', '')
      error(failure, 0)
    end
  elseif outcome == 0 and index ~= stored.index then
    redis.call('HSET', key, '_index', index)
  end
  reply[i + 1] = outcome
  local needs = outcome < 3 and not keeps_entries and needs_entries(outcome, stored, terms)
  if adds_entries then
    keep_for_dealer(i, terms, score, customer_uuid)
    if needs and not add_entries(terms, score, customer_uuid) then leave_to_caller(i) end
  elseif needs then
    pending[i] = index
  end
end

-- One ZADD adds the entries of all customers of a dealer, because a ZADD for each customer would
-- need up to twice the CPU time. `unpack` gets at most 500 values. If the call fails before this
-- command, the next attempt adds these entries, even if the customers are then duplicates.
for dealer, scores in pairs(scores_of) do
  if not add_to_index('dealer', dealer, unpack(scores)) then
    for i = 1, customers do
      if dealer_of[i] == dealer then leave_to_caller(i) end
    end
  end
end

-- Stores a field beside the positions by two commands, so that Redis writes a transaction. If the
-- user `default` has no rights, Redis 7 and 8 skip transactions when they load the append-only
-- file, but execute single commands. So after a restart, Redis could have a position that a single
-- command wrote, but not the customers before it, which transactions wrote.
local function store_twice(field, value)
  for _ = 1, 2 do redis.call('HSET', KEYS[#KEYS], field, value) end
end

if position ~= '' then
  if ARGV[14] == '1' and next(pending) == nil then
    store_twice(position, ARGV[4])
    if ARGV[11] ~= '' then redis.call('HSET', KEYS[#KEYS], position .. '#window', ARGV[11]) end
    if ARGV[12] ~= '' then redis.call('HSET', KEYS[#KEYS], position .. '#state', ARGV[12] .. '/' .. ARGV[4]) end
    reply[1] = 2
  else
    store_twice(position .. '#token', ARGV[10])
  end
end
for i = 1, customers do
  if pending[i] then
    reply[#reply + 1] = i
    reply[#reply + 1] = pending[i]
  end
end
return reply
