-- Begins a session, ends the one that the browser held before, and notes the deed.
-- KEYS: sessions hash, accounts hash, audit stream, head of the audit's chain
-- ARGV: digest of the new id, its JSON, account's id, account's epoch, digest of the old id ("" none), audit entry;
--   and then head, last id of the audit, number, previous hash, hash, as in change.lua (number "": no link)
-- Gives {"ok", id of the link}, {"changed"} where the account is no longer what was looked at, or {"moved"}.
local digest, record, account, epoch, old, entry = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local head, last, number, previous, hash = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]

local stored = redis.call('HGET', KEYS[2], account)
if not stored then
    return {'changed'}
end
local known = cjson.decode(string.match(stored, '^%d+\n(.*)$'))
if known.disabled or (known.epoch or 0) ~= epoch then
    return {'changed'}
end
if number ~= '' then
    local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
    if (redis.call('GET', KEYS[4]) or '') ~= head or (newest and newest[1] or '') ~= last then
        return {'moved'}
    end
end
if old ~= '' then
    redis.call('HDEL', KEYS[1], old)
end
redis.call('HSET', KEYS[1], digest, record)
if number == '' then
    redis.call('XADD', KEYS[3], '*', 'entry', entry)
    return {'ok'}
end
local noted = redis.call('XADD', KEYS[3], '*', 'entry', entry, 'n', number, 'prev', previous, 'hash', hash)
redis.call('SET', KEYS[4], number .. ' ' .. hash .. ' ' .. noted)
return {'ok', noted}
