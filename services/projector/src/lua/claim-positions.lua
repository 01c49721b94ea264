--[[
Stores the ids of a topic and of its Kafka cluster, the number of partitions, and the settings of
the indexes, together with the positions of the topic.

KEYS[1]  hash of positions
ARGV[1]  topic
ARGV[2]  id of the cluster, '' if unknown
ARGV[3]  id of the topic, '' if unknown
ARGV[4]  '1' = delete positions of another cluster, '0' = keep them and refuse the call
ARGV[5]  settings of the indexes, '' if indexes are off
ARGV[6]  number of partitions of the topic, '' if unknown

Reply    { 'claimed' }               the positions belong to this cluster and topic
         { 'deleted', n, old id }    n positions belonged to another cluster or topic and were deleted
         { 'refused', old id }       the positions belong to another cluster, nothing has changed
         { 'other-indexes', old }    stored customers have entries of other indexes, nothing has changed

Positions without ids were written by an earlier version of the projector. They get the given ids.
Positions without settings of indexes belong to customers without entries in indexes.
The number of partitions is stored only while there is no position. The number shows how many
positions a Redis that was emptied must get. Partitions that are added later do not change
the number, because they had no customers that Redis could lose.
The script is atomic, because two projectors may start at the same time. One projector must not
delete positions that the other projector has just moved.
]]
local cluster_field, topic_field = ARGV[1] .. '/cluster', ARGV[1] .. '/topic'
local indexes_field = ARGV[1] .. '/indexes'
local cluster, topic, indexes = ARGV[2], ARGV[3], ARGV[5]
local prefix, partitions_field = ARGV[1] .. '/', ARGV[1] .. '/partitions'

local function differs(field, id)
  local stored = redis.call('HGET', KEYS[1], field)
  return id ~= '' and stored and stored ~= id and stored
end

local function is_position(field)
  return string.sub(field, 1, #prefix) == prefix and string.find(field, '^%d+$', #prefix + 1)
end

local function has_positions()
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if is_position(field) then return true end
  end
  return false
end

local function claim()
  local is_known = redis.call('HGET', KEYS[1], partitions_field) and has_positions()
  if ARGV[6] ~= '' and not is_known then redis.call('HSET', KEYS[1], partitions_field, ARGV[6]) end
  if cluster ~= '' then redis.call('HSET', KEYS[1], cluster_field, cluster) end
  if topic ~= '' then redis.call('HSET', KEYS[1], topic_field, topic) end
  if indexes == '' then
    redis.call('HDEL', KEYS[1], indexes_field)
  else
    redis.call('HSET', KEYS[1], indexes_field, indexes)
  end
end

local other_cluster = differs(cluster_field, cluster)
if other_cluster and ARGV[4] ~= '1' then return { 'refused', other_cluster } end

local other = other_cluster or differs(topic_field, topic)
if not other then
  local old_indexes = redis.call('HGET', KEYS[1], indexes_field) or ''
  if old_indexes ~= indexes and has_positions() then return { 'other-indexes', old_indexes } end
  claim()
  return { 'claimed' }
end

local deleted = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #prefix) == prefix then
    if is_position(field) then deleted = deleted + 1 end
    redis.call('HDEL', KEYS[1], field)
  end
end
claim()
return { 'deleted', deleted, other }
