-- Keeps what a probe found, if whoever probed is still the one who may: a later leader has raised the fence.
-- KEYS: fence, facts hash
-- ARGV: fencing token, channel, key's id, JSON ("" forgets)
-- Gives 1, or 0 and then writes nothing.
if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then
    return 0
end
if ARGV[4] == '' then
    redis.call('HDEL', KEYS[2], ARGV[3])
else
    redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('PUBLISH', ARGV[2], (ARGV[4] == '' and '-' or '+') .. (ARGV[4] == '' and ARGV[3] or ARGV[4]))
return 1
