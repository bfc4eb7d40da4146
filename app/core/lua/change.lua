-- One change of the state: compare the record's revision, write it, count it, note it, tell every worker.
-- KEYS: records hash, version counter, audit stream; and, where they are compared: the store's mark, the head of the
--   audit's chain, a hash that must hold another record
-- ARGV: id, expected revision ("*" any, "0" must not exist), new JSON ("" deletes), audit entry, channel, kind; and then
--   mark ("" none) · head, last id of the audit, number, previous hash, hash (number "": the entry is no link)
--   · id that must exist beside it ("" none), version that the state must have ("" any)
-- Gives {"ok", version, new revision, id of the link} or {"conflict" | "missing" | "reset" | "moved", version, current
-- revision} and then writes nothing. "moved": the audit has grown, the link must be made anew.
local id, expected, record, entry, channel, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local mark, head, last = ARGV[7] or '', ARGV[8] or '', ARGV[9] or ''
local number, previous, hash = ARGV[10] or '', ARGV[11], ARGV[12]
local beside, state = ARGV[13] or '', ARGV[14] or ''

local stored = redis.call('HGET', KEYS[1], id)
local revision = 0
if stored then
    revision = tonumber(string.match(stored, '^(%d+)\n')) or 0
end

local unchanged = tonumber(redis.call('GET', KEYS[2]) or '0')
if mark ~= '' and redis.call('GET', KEYS[4]) ~= mark then
    return {'reset', unchanged, revision}
end
if expected ~= '*' and tonumber(expected) ~= revision then
    return {stored and 'conflict' or 'missing', unchanged, revision}
end
if record == '' and not stored then
    return {'missing', unchanged, 0}
end
if beside ~= '' and redis.call('HEXISTS', KEYS[6], beside) == 0 then
    return {'conflict', unchanged, revision}
end
if state ~= '' and tonumber(state) ~= unchanged then
    return {'conflict', unchanged, revision}
end
if number ~= '' then
    local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
    if (redis.call('GET', KEYS[5]) or '') ~= head or (newest and newest[1] or '') ~= last then
        return {'moved', unchanged, revision}
    end
end

local next_revision = revision + 1
if record == '' then
    redis.call('HDEL', KEYS[1], id)
else
    redis.call('HSET', KEYS[1], id, string.format('%d\n', next_revision) .. record)
end
local version = redis.call('INCR', KEYS[2])
local answer = {'ok', version, next_revision}
if number == '' then
    redis.call('XADD', KEYS[3], '*', 'entry', entry)
else
    local noted = redis.call('XADD', KEYS[3], '*', 'entry', entry, 'n', number, 'prev', previous, 'hash', hash)
    redis.call('SET', KEYS[5], number .. ' ' .. hash .. ' ' .. noted)
    answer[4] = noted
end
redis.call('PUBLISH', channel, string.format('%d %s %s', version, kind, id))
return answer
