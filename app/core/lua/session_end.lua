-- Ends sessions, and notes the deed if any of them was still there.
-- KEYS: sessions hash, audit stream, head of the audit's chain
-- ARGV: audit entry; head, last id of the audit, number, previous hash, hash, as in change.lua (number "": no link);
--   and then the digests
-- Gives {"ok", how many, id of the link}, {"gone"} where none was there, or {"moved"}.
local entry, head, last, number, previous, hash = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local found = {}
for place = 7, #ARGV do
    if redis.call('HEXISTS', KEYS[1], ARGV[place]) == 1 then
        found[#found + 1] = ARGV[place]
    end
end
if #found == 0 then
    return {'gone'}
end
if number ~= '' then
    local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if (redis.call('GET', KEYS[3]) or '') ~= head or (newest and newest[1] or '') ~= last then
        return {'moved'}
    end
end
for _, digest in ipairs(found) do
    redis.call('HDEL', KEYS[1], digest)
end
if number == '' then
    redis.call('XADD', KEYS[2], '*', 'entry', entry)
    return {'ok', #found}
end
local noted = redis.call('XADD', KEYS[2], '*', 'entry', entry, 'n', number, 'prev', previous, 'hash', hash)
redis.call('SET', KEYS[3], number .. ' ' .. hash .. ' ' .. noted)
return {'ok', #found, noted}
