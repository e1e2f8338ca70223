-- KEYS: the hash, then a string key a metric.
-- ARGV: the string keys' time to live in seconds (0: none), '1' to write the
-- hash even where there is none, then "seconds" and "[seconds, value]" a metric.
-- Returns the number of marks that rose.
local hash, ttl, n = KEYS[1], tonumber(ARGV[1]), #KEYS - 1
local kind = redis.call('TYPE', hash).ok
local number = '([%d.eE+%-]+)'
local list = '^%s*%[%s*' .. number .. '%s*,%s*' .. number .. '%s*%]%s*$'
local listNone = '^%s*%[%s*' .. number .. '%s*,%s*(None)%s*%]%s*$'
local dict = "^%s*{%s*'timestamp'%s*:%s*" .. number .. "%s*,%s*'value'%s*:%s*" .. number .. '%s*}%s*$'
local dictNone = "^%s*{%s*'timestamp'%s*:%s*" .. number .. "%s*,%s*'value'%s*:%s*(None)%s*}%s*$"

-- stamp reads the seconds of a stored mark; nil where there is none to read.
-- Some Luas that are not Redis's have a tonumber that knows no exponents.
local function stamp(text, pattern, patternNone)
  local t, v = string.match(text, pattern)
  if t and not tonumber(v) and not string.find(v, '^[+%-]?%d+%.?%d*[eE][+%-]?%d+$') then
    return nil
  end
  t = t or string.match(text, patternNone)
  return t and tonumber(t)
end

local strings = redis.call('MGET', unpack(KEYS, 2))
local fields, dicts
if kind == 'hash' or (kind == 'none' and ARGV[2] == '1') then
  fields = {}
  for i = 1, n do
    fields[i] = string.sub(KEYS[i + 1], 11) -- behind "flux.last."
  end
  dicts = redis.call('HMGET', hash, unpack(fields))
end

local seen, set, hset, rose = {}, {}, {}, 0
for i = 1, n do
  local key, seconds, text = KEYS[i + 1], ARGV[2 * i + 1], ARGV[2 * i + 2]
  local new, old = tonumber(seconds), seen[KEYS[i + 1]]
  if not old then
    old = strings[i] and stamp(strings[i], list, listNone)
    local d = dicts and dicts[i] and stamp(dicts[i], dict, dictNone)
    if d and (not old or d > old) then
      old = d
    end
  end
  if not old or new > old then
    seen[key] = new
    rose = rose + 1
    set[#set + 1] = key
    set[#set + 1] = text
    if fields then
      hset[#hset + 1] = fields[i]
      hset[#hset + 1] = "{'timestamp': " .. seconds .. ", 'value': " .. string.sub(text, #seconds + 4, -2) .. '}'
    end
  end
end

if #set > 0 then
  if ttl > 0 then
    for i = 1, #set, 2 do
      redis.call('SET', set[i], set[i + 1], 'EX', ttl)
    end
  else
    redis.call('MSET', unpack(set))
  end
end
if #hset > 0 then
  redis.call('HSET', hash, unpack(hset))
end
return rose
