-- Tells what a node used of its leases, and leases it more or takes back what it gives up: for many scopes, each by itself.
-- KEYS: epoch, members, then one for each scope. ARGV: epoch, node, lease in ms, how it tells (`anew`: all that it
-- has, to a store that may have lost it; `done`: it has told all; `on`), then FIELDS for each scope.
-- All amounts are absolute, so a repetition does nothing; what comes later than its successor is stale by its number.
local FIELDS = 15
local SLOTS = 64
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local micros = t[1] * 1000000 + t[2]
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epoch = redis.call('HMGET', KEYS[1], 'id', 'server', 'opens_at', 'amended')
if not epoch[1] then return {'flushed'} end
if epoch[2] ~= server then return {'failed_over'} end
if epoch[1] ~= ARGV[1] then return {'other_epoch'} end
local node, is_open = ARGV[2], now >= tonumber(epoch[3])
if ARGV[4] == 'done' then redis.call('HSET', KEYS[1], 'told:' .. node, epoch[1]) end
if ARGV[4] == 'anew' and not is_open then
  -- Who has much to tell is waited for: what it has not told yet must not be leased to others.
  redis.call('HSET', KEYS[1], 'opens_at', math.max(tonumber(epoch[3]), now + math.floor(ARGV[3] / 2)))
end
redis.call('HSET', KEYS[2], node, now + ARGV[3])
local lives, nodes = {}, 0
local members = redis.call('HGETALL', KEYS[2])
for at = 1, #members, 2 do
  if tonumber(members[at + 1]) > now then
    lives[members[at]] = true
    nodes = nodes + 1
  end
end

local function whole(n) return string.format('%.0f', n) end

-- What is used, brought to now, and what adds to it. `drop` names fields that are over.
local Count = {}
Count.C = function(h, a)
  return tonumber(h.used or 0), function(amount)
    h.used = math.max(0, tonumber(h.used or 0) + amount)
    return h.used
  end
end
Count.S = function(h, a, drop)
  local slot = math.floor(now / a.from)
  local all = 0
  for field, value in pairs(h) do
    local n = string.match(field, '^t:(%-?%d+)$')
    if n then
      if h.from ~= whole(a.from) then
        -- Another span: what was used counts from now on.
        all = all + tonumber(value)
        drop[field] = true
      elseif tonumber(n) < slot - SLOTS then
        drop[field] = true
      else
        all = all + tonumber(value)
      end
    end
  end
  local here = 't:' .. whole(slot)
  if h.from ~= whole(a.from) then h[here], drop[here] = all, nil end
  return all, function(amount)
    h[here] = tonumber(h[here] or 0) + amount
    all = all + amount
    return all
  end
end
Count.B = function(h, a)
  local level, at = tonumber(h.used or 0), tonumber(h.at or micros)
  local drained = math.min(level, math.floor((micros - at) * a.limit / (a.from * 1000)))
  if drained > 0 then level = level - drained end
  if level == 0 then
    at = micros
  elseif drained > 0 then
    at = math.min(micros, at + math.ceil(drained * a.from * 1000 / a.limit))
  end
  h.used, h.at = level, at
  return level, function(amount)
    h.used = math.max(0, h.used + amount)
    return h.used
  end
end
Count.F = function() return 0, function() return 0 end end

-- What is used by whom: of a period what each node told so far, of a span what each still counts. A bucket drains as one.
local USED = {C = 'c', S = 'w'}

-- What is used by and leased to each node, as it told itself; `-` stands for what was used by nobody who is known.
local function shares(h, kind, used)
  local of, rest = {}, used
  for field, value in pairs(h) do
    local what, owner = string.match(field, '^([cow]):(.+)$')
    if what == 'o' or what and what == USED[kind] then
      of[owner] = (of[owner] or 0) + tonumber(value)
      if what ~= 'o' then rest = rest - tonumber(value) end
    end
  end
  of['-'] = math.max(0, rest)
  return of
end

-- What nodes had by what others were told of them, above what is known of them here. It counts until they have told all
-- themselves: what others knew may be older, and speak of slices that were given back since.
local function heard(h, of, drop)
  local unknown = 0
  for field, value in pairs(h) do
    local owner = string.match(field, '^u:(.+)$')
    if owner then
      local has_told = redis.call('HMGET', KEYS[1], 'told:' .. owner)[1] == epoch[1]
      local more = tonumber(value) - (of[owner] or 0)
      if has_told or more <= 0 then
        drop[field] = true
      else
        unknown = unknown + more
        of[owner] = tonumber(value)
      end
    end
  end
  return unknown
end

local function scope(key, a)
  local raw = redis.call('HGETALL', key)
  local h = {}
  for at = 1, #raw, 2 do h[raw[at]] = raw[at + 1] end
  local last, of = string.match(h['q:' .. node] or '', '^(%d+)@(.*)$')
  if last and of == epoch[1] and a.number <= tonumber(last) then return {'stale'} end
  if a.kind == 'C' then
    if now < a.from or now >= a.to then return {'over'} end
    if h.to and tonumber(h.to) <= now then
      redis.call('DEL', key)
      h = {}
    end
  end
  local drop = {}
  local used, book = Count[a.kind](h, a, drop)
  local others = 0
  for field, value in pairs(h) do
    local owner = string.match(field, '^o:(.+)$')
    if owner and owner ~= node then
      if lives[owner] or a.kind == 'C' then
        others = others + tonumber(value)
      else
        -- It is gone: of a rate it used what it had leased; its calls in flight are gone with it.
        used = book(tonumber(value))
        drop[field], h[field] = true, nil
      end
    end
  end
  local o, c = tonumber(h['o:' .. node] or 0), tonumber(h['c:' .. node] or '')
  if a.fresh == 1 and a.kind ~= 'C' then
    -- The node began anew and knows no more what it had leased.
    if c then used, c = book(o), a.used end
    o = 0
  end
  local own = a.kind == 'C' and a.used or a.window
  if a.kind ~= 'F' then
    local more = c and a.used - c or own
    if more ~= 0 then used = book(more) end
  end
  if a.adjust ~= '' and not h['a:' .. a.adjust] then
    used = book(math.max(a.delta, -used))
    h['a:' .. a.adjust] = 1
  end
  local unknown, known = 0, {}
  if a.kind ~= 'F' then
    h['c:' .. node], h['o:' .. node] = a.used, nil
    if a.kind == 'S' then h['w:' .. node] = a.window end
    for owner, amount in string.gmatch(a.others, '([^:,]+):(%d+)') do
      h['u:' .. owner] = math.max(tonumber(h['u:' .. owner] or 0), tonumber(amount))
    end
    known = shares(h, a.kind, used)
    unknown = heard(h, known, drop)
    if is_open and unknown > 0 and a.kind ~= 'C' then
      used, unknown = book(unknown), 0
      for field in pairs(h) do
        if string.match(field, '^u:') then drop[field] = true end
      end
    end
  end
  local given, tight = 0, 1
  if is_open then
    local extra = a.limit - used - unknown - others - a.floor
    if a.min > 0 and extra >= a.min then given = math.min(extra, a.want) end
    local most = math.floor((extra - given) / (4 * nodes))
    if most >= a.step then
      tight = 0
      if a.min == 0 or given > 0 then given = given + math.min(a.ahead, most) end
    end
  end
  local lease = a.floor + given
  for field in pairs(drop) do
    redis.call('HDEL', key, field)
    h[field] = nil
  end
  h['o:' .. node], h['c:' .. node], h['q:' .. node] = lease, a.used, whole(a.number) .. '@' .. epoch[1]
  h.from, h.to = a.from, a.to
  local changed = {}
  for field, value in pairs(h) do
    changed[#changed + 1] = field
    changed[#changed + 1] = type(value) == 'number' and whole(value) or value
  end
  redis.call('HSET', key, unpack(changed))
  redis.call('PEXPIREAT', key, whole(a.kind == 'C' and a.to + 3600000 or now + a.to))
  local told = {}
  for owner, amount in pairs(known) do
    if owner ~= node and amount > 0 then told[#told + 1] = owner .. ':' .. whole(amount) end
  end
  return {'ok', lease, used + unknown, others, tight, table.concat(told, ',')}
end

local answers = {'ok', now, is_open and 1 or 0, tonumber(epoch[4] or 0)}
for n = 3, #KEYS do
  local at = 4 + (n - 3) * FIELDS
  local function number(field) return tonumber(ARGV[at + field]) end
  answers[#answers + 1] = scope(KEYS[n], {
    number = number(1), kind = ARGV[at + 2], from = number(3), to = number(4), limit = number(5),
    used = number(6), floor = number(7), min = number(8), want = number(9), ahead = number(10), step = number(11),
    fresh = number(12), window = number(13), others = ARGV[at + 14],
    adjust = string.match(ARGV[at + 15], '^[^:]*'), delta = tonumber(string.match(ARGV[at + 15], ':(.+)$') or 0),
  })
end
return answers
