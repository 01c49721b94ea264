--[[
Calls all commands of the projector on a test key, to find a missing right before an event needs that
right.

KEYS[1]  an unused key with the prefix of the projector's keys
ARGV[1]  'hash' = the key is for a hash, 'index' = the key is for an index

Reply    names of the commands that the user may not call on this key

The script is atomic, so that no one sees the test key.
]]
local key = KEYS[1]
local refused = {}

local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return end
  local text = string.lower(reply.err)
  local is_right = false
  for _, part in ipairs({ 'permission', "can't run", "can't access" }) do
    is_right = is_right or string.find(text, part, 1, true) ~= nil
  end
  -- Any other error is an outage, e.g. a full memory.
  if not is_right then error(reply.err, 0) end
  refused[#refused + 1] = command
end

if ARGV[1] == 'index' then
  try('ZADD', key, 1, 'member')
  try('ZSCORE', key, 'member')
  try('ZREM', key, 'member')
  return refused
end
try('EXISTS', key)
try('SET', key, '')
try('DEL', key)
try('HSET', key, 'field', 'value')
try('HGET', key, 'field')
try('HMGET', key, 'field')
try('HLEN', key)
try('HKEYS', key)
try('PERSIST', key)
try('HDEL', key, 'field')
redis.pcall('DEL', key)
return refused
