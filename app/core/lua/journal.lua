-- One step of a journal: compare the record's revision, write it, note the deed.
-- KEYS: records hash, audit stream, head of the audit's chain
-- ARGV: id, expected revision ("0": must not exist), new JSON ("" deletes), audit entry ("" notes nothing); and then
--   head, last id of the audit, number, previous hash, hash, as in change.lua (number "": the entry is no link)
-- Gives {"ok", new revision, id of the link}, or {"conflict"} or {"moved"} and then writes nothing.
local id, expected, record, entry = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local head, last, number, previous, hash = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local stored = redis.call('HGET', KEYS[1], id)
local revision = 0
if stored then
    revision = tonumber(string.match(stored, '^(%d+)\n')) or 0
end
if expected ~= revision then
    return {'conflict'}
end
if number ~= '' then
    local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if (redis.call('GET', KEYS[3]) or '') ~= head or (newest and newest[1] or '') ~= last then
        return {'moved'}
    end
end

if record == '' then
    redis.call('HDEL', KEYS[1], id)
else
    redis.call('HSET', KEYS[1], id, string.format('%d\n', revision + 1) .. record)
end
local answer = {'ok', revision + 1}
if number ~= '' then
    local noted = redis.call('XADD', KEYS[2], '*', 'entry', entry, 'n', number, 'prev', previous, 'hash', hash)
    redis.call('SET', KEYS[3], number .. ' ' .. hash .. ' ' .. noted)
    answer[3] = noted
elseif entry ~= '' then
    redis.call('XADD', KEYS[2], '*', 'entry', entry)
end
return answer
