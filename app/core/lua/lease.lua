-- Takes, renews or gives back a lease. Each new holder raises the fence, so that a late one can be told apart.
-- KEYS: lease, fence
-- ARGV: owner's id, term in milliseconds (0 gives it back)
-- Gives the fencing token of the one who holds it now, or 0 where that is somebody else or nobody.
local owner, term = ARGV[1], tonumber(ARGV[2])
local holder = redis.call('GET', KEYS[1])

if term == 0 then
    if holder == owner then
        redis.call('DEL', KEYS[1])
    end
    return 0
end
if holder == owner then
    redis.call('PEXPIRE', KEYS[1], term)
    return tonumber(redis.call('GET', KEYS[2]) or '0')
end
if holder then
    return 0
end
redis.call('SET', KEYS[1], owner, 'PX', term)
return redis.call('INCR', KEYS[2])
