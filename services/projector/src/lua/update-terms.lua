--[[
Adds customers to indexes and removes customers from indexes. A key of an index is a sorted set. The
score of a customer is the timestamp of the newest event that has added the customer.

KEYS     a key for each entry, then the hash of positions if ARGV[1] is not ''. On Redis Cluster all
         keys must be in one slot.
ARGV[1]  field of the token in the hash of positions, '' if the call needs no token
ARGV[2]  token that must be stored
ARGV[3]  token to store for the next call, or for move-position.lua
then for each entry, in the order of KEYS:
         '+' = add, '-' = remove an older entry, '=' = remove an equal or older entry;
         customerUuid; timestamp of the customer's event

Reply    first: 1 = done, -1 = another token or no token is stored, nothing was written
         then the number of each entry that was not removed, because its score is too high

The script is atomic for two reasons:
- Another projector may add an entry between the comparison and the removal. A newer event has a higher
  score, so its entry stays.
- A projector that was paused may have lost its partition. The new owner has replaced the token.
]]
local token = ARGV[1]
local entries = #KEYS
if token ~= '' then
  entries = entries - 1
  if redis.call('HGET', KEYS[#KEYS], token) ~= ARGV[2] then return { -1 } end
end
local reply = { 1 }
for i = 1, entries do
  local key, action, member, timestamp = KEYS[i], ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  if action == '+' then
    redis.call('ZADD', key, 'GT', timestamp, member)
  else
    local score = tonumber(redis.call('ZSCORE', key, member) or '')
    local limit = tonumber(timestamp)
    if score and (score < limit or (action == '=' and score == limit)) then
      redis.call('ZREM', key, member)
    elseif score then
      reply[#reply + 1] = i
    end
  end
end
-- Two commands make a transaction: see store_twice in apply-snapshots.lua.
if token ~= '' then
  for _ = 1, 2 do redis.call('HSET', KEYS[#KEYS], token, ARGV[3]) end
end
return reply
