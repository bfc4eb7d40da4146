-- A session and the account that it belongs to, as they are at the same moment. Writes nothing.
-- KEYS: sessions hash, accounts hash
-- ARGV: digest of the session's id
-- Gives {session's JSON, account with its revision ("" none)} or {}.
local session = redis.call('HGET', KEYS[1], ARGV[1])
if not session then
    return {}
end
return {session, redis.call('HGET', KEYS[2], cjson.decode(session).account) or ''}
