-- KEYS: the hash, the string key.
-- ARGV: the string key's time to live in seconds (0: none), '1' to write the
-- hash even where there is none, the string, the hash's field and its value.
redis.call('SET', KEYS[2], ARGV[3])
if tonumber(ARGV[1]) > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'hash' or (kind == 'none' and ARGV[2] == '1') then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
end
return 1
