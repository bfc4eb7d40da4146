-- One step of a journal: compare the record's revision, write it, note the deed.
-- KEYS: records hash, audit stream
-- ARGV: id, expected revision ("0": must not exist), new JSON ("" deletes), audit entry ("" notes nothing)
-- Gives the new revision, or -1 and then writes nothing.
local id, expected, record, entry = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local stored = redis.call('HGET', KEYS[1], id)
local revision = 0
if stored then
    revision = tonumber(string.match(stored, '^(%d+)\n')) or 0
end
if expected ~= revision then
    return -1
end
if record == '' then
    redis.call('HDEL', KEYS[1], id)
else
    redis.call('HSET', KEYS[1], id, string.format('%d\n', revision + 1) .. record)
end
if entry ~= '' then
    redis.call('XADD', KEYS[2], '*', 'entry', entry)
end
return revision + 1
