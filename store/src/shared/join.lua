-- A node joins the fleet, and with it the epoch; where there is none, or the server is another one, a new epoch begins.
-- KEYS: epoch, members. ARGV: node, lease in ms, id for a new epoch.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local lease = tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'id', 'server', 'opens_at')
local id, opens_at = known[1], tonumber(known[3] or 0)
if not id or known[2] ~= server then
  -- Nothing is leased before all who hold leases of an older epoch have come, or their leases have ended.
  id, opens_at = ARGV[3], now + lease
  redis.call('HSET', KEYS[1], 'id', id, 'server', server, 'opens_at', opens_at)
elseif now < opens_at then
  -- Who comes in time has time to tell what it holds.
  opens_at = math.max(opens_at, now + math.floor(lease / 2))
  redis.call('HSET', KEYS[1], 'opens_at', opens_at)
end
local members = redis.call('HGETALL', KEYS[2])
for at = 1, #members, 2 do
  if tonumber(members[at + 1]) + 86400000 < now then
    redis.call('HDEL', KEYS[2], members[at])
    redis.call('HDEL', KEYS[1], 'told:' .. members[at])
  end
end
redis.call('HSET', KEYS[2], ARGV[1], now + lease)
return {id, redis.call('HINCRBY', KEYS[1], 'joins', 1), now, math.max(opens_at - now, 0)}
