-- Writes the status of tasks unless a newer one is there. KEYS: the tasks. ARGV: for each the entry, which begins with
-- its age in twelve digits, and its seconds to live.
for i = 1, #KEYS do
  local entry = ARGV[2 * i - 1]
  if redis.call('GETRANGE', KEYS[i], 0, 11) <= string.sub(entry, 1, 12) then
    redis.call('SET', KEYS[i], entry, 'EX', ARGV[2 * i])
  end
end
