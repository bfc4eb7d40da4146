-- May somebody try to sign in now? If so the try counts as a failure at once, until it is taken back: a thousand tries
-- at the same moment are a thousand tries. After the free ones each failure doubles the wait.
-- KEYS: one string for each subject, "<failures> <time of the last>"
-- ARGV: now_s, shortest wait, longest wait, life of a string, and then the free tries of each subject
-- Gives {0, failures of each before this one} or {seconds to wait}, and then counts nothing.
local now, shortest, longest, life = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local counts, wait = {}, 0
for place, name in ipairs(KEYS) do
    local stored = redis.call('GET', name) or '0 0'
    local failures, last = string.match(stored, '^(%d+) (%d+)$')
    failures, last = tonumber(failures), tonumber(last)
    counts[place] = failures
    local beyond = failures - tonumber(ARGV[4 + place])
    if beyond >= 0 then
        local pause = math.min(longest, shortest * 2 ^ math.min(beyond, 20))
        wait = math.max(wait, math.min(last, now) + pause - now)
    end
end
if wait > 0 then
    return {math.ceil(wait)}
end
for place, name in ipairs(KEYS) do
    redis.call('SET', name, string.format('%d %d', counts[place] + 1, now), 'EX', life)
end
return {0, unpack(counts)}
