-- Writes a task's status unless a newer one is there. KEYS: the task. ARGV: age, document, seconds to live.
local known = redis.call('HGET', KEYS[1], 'age')
if known and tonumber(known) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'age', ARGV[1], 'document', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
