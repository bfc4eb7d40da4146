-- Gives back what a dead worker's calls have reserved. Does nothing as long as the worker shows signs of life.
-- KEYS: the worker's sign of life, its holds, the set of workers
-- ARGV: the worker, where to go on ('0': at the beginning), most holds in one go
-- Gives where to go on, '0' at the end.
-- How a hold is stored: see admit.
local MONEY, RUNNING = 2, 3
if redis.call('EXISTS', KEYS[1]) == 1 then
    return '0'
end
local function take(name, amount)
    if tonumber(redis.call('GET', name) or '0') <= amount then
        redis.call('DEL', name)
    else
        redis.call('DECRBY', name, string.format('%.0f', amount))
    end
end
local places = KEYS[2] .. ':places'
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
    local amounts, where = cmsgpack.unpack(page[2][i + 1])
    local parts = where
    if type(where) ~= 'table' then
        parts = cmsgpack.unpack(redis.call('HGET', places, where))
        if redis.call('HINCRBY', places, where .. '#', -1) <= 0 then
            redis.call('HDEL', places, where, where .. '#')
        end
    end
    for _, part in ipairs(parts) do
        if part[1] == MONEY then
            take(part[2], amounts[1])
        elseif part[1] == RUNNING and amounts[5] == 1 then
            take(part[2], 1)
        end
    end
    redis.call('HDEL', KEYS[2], page[2][i])
end
if page[1] == '0' then
    redis.call('SREM', KEYS[3], ARGV[1])
end
return page[1]
