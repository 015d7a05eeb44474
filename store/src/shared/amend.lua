-- Takes grants and overrides where they are still as the node knows them, and tells what changed since it heard of them.
-- KEYS: epoch, numbers of the last change by id, amendments by id. ARGV: epoch, the last change that the node heard of, how
-- many there may be, how many are told at once, then for each that it brings: id, the change that it knows it by (0 = none),
-- and how it is now ('' = forgotten). The number of the last change is in the epoch, where whoever tells of scopes hears of it.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epoch = redis.call('HMGET', KEYS[1], 'id', 'server', 'amended')
if not epoch[1] then return {'flushed'} end
if epoch[2] ~= server then return {'failed_over'} end
if epoch[1] ~= ARGV[1] then return {'other_epoch'} end
local since, most, part = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last = tonumber(epoch[3] or 0)

local numbers, count = {}, 0
local raw = redis.call('HGETALL', KEYS[2])
for at = 1, #raw, 2 do
  numbers[raw[at]] = tonumber(raw[at + 1])
  count = count + 1
end

local function bring(id, known, text)
  local here = numbers[id]
  if (here or 0) ~= known then return here and 'other' or 'gone' end
  if text == '' then
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    if here then count = count - 1 end
    numbers[id] = nil
    return 'taken'
  end
  if not here then
    if count >= most then return 'full' end
    count = count + 1
  end
  last = redis.call('HINCRBY', KEYS[1], 'amended', 1)
  redis.call('HSET', KEYS[2], id, string.format('%.0f', last))
  redis.call('HSET', KEYS[3], id, text)
  numbers[id] = last
  return 'taken'
end

local outcomes = {}
for at = 5, #ARGV, 3 do
  outcomes[#outcomes + 1] = bring(ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2])
end

local changed, id_of = {}, {}
for id, number in pairs(numbers) do
  if number > since then
    changed[#changed + 1] = number
    id_of[number] = id
  end
end
table.sort(changed)
local ids = {}
for at = 1, math.min(#changed, part) do ids[at] = id_of[changed[at]] end
local told = {}
if #ids > 0 then
  for at, text in ipairs(redis.call('HMGET', KEYS[3], unpack(ids))) do
    told[at] = {changed[at], text or ''}
  end
end
return {'ok', last, #changed > part and changed[part] or last, outcomes, told}
