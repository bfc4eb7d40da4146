-- One change of the state: compare the record's revision, write it, count it, note it, tell every worker.
-- KEYS: records hash, version counter, audit stream, and the store's mark where it is to be compared
-- ARGV: id, expected revision ("*" any, "0" must not exist), new JSON ("" deletes), audit entry, channel, kind, mark
-- Gives {"ok", version, new revision} or {"conflict" | "missing" | "reset", version, current revision} and then writes
-- nothing.
local id, expected, record, entry, channel, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stored = redis.call('HGET', KEYS[1], id)
local revision = 0
if stored then
    revision = tonumber(string.match(stored, '^(%d+)\n')) or 0
end

local unchanged = tonumber(redis.call('GET', KEYS[2]) or '0')
if KEYS[4] and redis.call('GET', KEYS[4]) ~= ARGV[7] then
    return {'reset', unchanged, revision}
end
if expected ~= '*' and tonumber(expected) ~= revision then
    return {stored and 'conflict' or 'missing', unchanged, revision}
end
if record == '' and not stored then
    return {'missing', unchanged, 0}
end

local next_revision = revision + 1
if record == '' then
    redis.call('HDEL', KEYS[1], id)
else
    redis.call('HSET', KEYS[1], id, string.format('%d\n', next_revision) .. record)
end
local version = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], '*', 'entry', entry)
redis.call('PUBLISH', channel, string.format('%d %s %s', version, kind, id))
return {'ok', version, next_revision}
