--[[
Stores the ids of a topic and of its Kafka cluster together with the positions of the topic.

KEYS[1]  hash of positions
ARGV[1]  topic
ARGV[2]  id of the cluster, '' if unknown
ARGV[3]  id of the topic, '' if unknown
ARGV[4]  '1' = delete positions of another cluster, '0' = keep them and refuse the call

Reply    { 'claimed' }               the positions belong to this cluster and topic
         { 'deleted', n, old id }    n positions belonged to another cluster or topic and were deleted
         { 'refused', old id }       the positions belong to another cluster, nothing has changed

Positions without ids were written by an earlier version of the projector. They get the given ids.
The script is atomic, because two projectors may start at the same time. One projector must not
delete positions that the other projector has just moved.
]]
local cluster_field, topic_field = ARGV[1] .. '/cluster', ARGV[1] .. '/topic'
local cluster, topic = ARGV[2], ARGV[3]

local function differs(field, id)
  local stored = redis.call('HGET', KEYS[1], field)
  return id ~= '' and stored and stored ~= id and stored
end

local function claim()
  if cluster ~= '' then redis.call('HSET', KEYS[1], cluster_field, cluster) end
  if topic ~= '' then redis.call('HSET', KEYS[1], topic_field, topic) end
end

local other_cluster = differs(cluster_field, cluster)
if other_cluster and ARGV[4] ~= '1' then return { 'refused', other_cluster } end

local other = other_cluster or differs(topic_field, topic)
if not other then
  claim()
  return { 'claimed' }
end

local deleted = 0
local prefix = ARGV[1] .. '/'
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #prefix) == prefix then
    local is_position = field ~= cluster_field and field ~= topic_field and not string.find(field, '#', #prefix, true)
    if is_position then deleted = deleted + 1 end
    redis.call('HDEL', KEYS[1], field)
  end
end
claim()
return { 'deleted', deleted, other }
