-- Writes when a session was last seen, and when its person last proved who they are. Never revives an ended one.
-- KEYS: sessions hash
-- ARGV: digest, seen_s, proved_s ("" leaves it)
-- Gives 1, or 0 where there is no such session.
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
    return 0
end
local session = cjson.decode(stored)
session.seen_s = math.max(session.seen_s, tonumber(ARGV[2]))
if ARGV[3] ~= '' then
    session.proved_s = tonumber(ARGV[3])
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(session))
return 1
