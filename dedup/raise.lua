-- KEYS: the hash, then a string key a metric.
-- ARGV: the string keys' time to live in seconds (0: none), '1' to write the
-- hash even where there is none, then runs of metrics with one timestamp: its
-- seconds, their number, and "[seconds, value]" for each.
-- Returns the number of marks that rose.
local byte, find, match, sub, num = string.byte, string.find, string.match, string.sub, tonumber
local hash, ttl, n = KEYS[1], num(ARGV[1]), #KEYS - 1
local kind = redis.call('TYPE', hash).ok
local number = '([%d.eE+%-]+)'
local list = '^%s*%[%s*' .. number .. '%s*,%s*' .. number .. '%s*%]%s*$'
local listNone = '^%s*%[%s*' .. number .. '%s*,%s*(None)%s*%]%s*$'
local dict = "^%s*{%s*'timestamp'%s*:%s*" .. number .. "%s*,%s*'value'%s*:%s*" .. number .. '%s*}%s*$'
local dictNone = "^%s*{%s*'timestamp'%s*:%s*" .. number .. "%s*,%s*'value'%s*:%s*(None)%s*}%s*$"

-- stamp reads the seconds of a stored mark; nil where there is none to read.
-- Some Luas that are not Redis's have a tonumber that knows no exponents.
local function stamp(text, pattern, patternNone)
  local t, v = match(text, pattern)
  if t and not num(v) and not find(v, '^[+%-]?%d+%.?%d*[eE][+%-]?%d+$') then
    return nil
  end
  t = t or match(text, patternNone)
  return t and num(t)
end

if ttl > 0 and redis.replicate_commands then
  redis.replicate_commands() -- before Redis 5, or TIME would forbid the writes that follow
end
local strings = redis.call('MGET', unpack(KEYS, 2))
local fields, dicts
if kind == 'hash' or (kind == 'none' and ARGV[2] == '1') then
  fields = {}
  for i = 1, n do
    fields[i] = sub(KEYS[i + 1], 11) -- behind "flux.last."
  end
  dicts = redis.call('HMGET', hash, unpack(fields))
end

-- older tells that what is stored for metric i is no later than new, or cannot
-- be read. A timestamp of ten digits where Skyline puts it, and older, needs no
-- look at the rest: whether it can be read or not, the mark rises.
local function older(i, new)
  local s, d = strings[i], dicts and dicts[i]
  if s then
    local t = byte(s, 12) == 44 and num(sub(s, 2, 11))
    if not t or t >= new then
      t = stamp(s, list, listNone)
      if t and t >= new then
        return false
      end
    end
  end
  if d then
    local t = byte(d, 25) == 44 and num(sub(d, 14, 24))
    if not t or t >= new then
      t = stamp(d, dict, dictNone)
      if t and t >= new then
        return false
      end
    end
  end
  return true
end

local seen, set, hset, sets, hsets = {}, {}, {}, 0, 0
local i, at = 1, 3
while i <= n do
  local seconds, last = ARGV[at], at + ARGV[at + 1] + 1
  local new, from = num(seconds), #seconds + 4
  local front = "{'timestamp': " .. seconds .. ", 'value': "
  for k = at + 2, last do
    local key = KEYS[i + 1]
    local before = seen[key]
    if older(i, new) and not (before and before >= new) then
      seen[key] = new
      set[sets + 1], set[sets + 2] = key, ARGV[k]
      sets = sets + 2
      if fields then
        hset[hsets + 1] = fields[i]
        hset[hsets + 2] = front .. sub(ARGV[k], from, -2) .. '}'
        hsets = hsets + 2
      end
    end
    i = i + 1
  end
  at = last + 1
end

if sets > 0 then
  redis.call('MSET', unpack(set))
  if ttl > 0 then -- cheaper than SETEX, which has the server rewrite each to a time like this
    local now = redis.call('TIME')
    local ends = string.format('%.0f', (now[1] + ttl) * 1000 + math.floor(now[2] / 1000))
    for k = 1, sets, 2 do
      redis.call('PEXPIREAT', set[k], ends)
    end
  end
end
if hsets > 0 then
  redis.call('HSET', hash, unpack(hset))
end
return sets / 2
