-- Gives back what a dead worker's calls have reserved. Does nothing as long as the worker shows signs of life.
-- KEYS: the worker's sign of life, its holds, the set of workers
-- ARGV: the worker, where to go on ('0': at the beginning), most holds in one go, how long what is left may be settled
-- Gives where to go on, '0' at the end. What is left of a hold: where a cost is to be counted besides its owner's sums.
local RATE, MONEY = 1, 2
if redis.call('EXISTS', KEYS[1]) == 1 then
    return '0'
end
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
    local left, given = {}, false
    for _, part in ipairs(cmsgpack.unpack(page[2][i + 1])) do
        local amount = 0
        if part[1] ~= RATE then
            amount = part[1] == MONEY and part[3] or 1
        end
        if amount > 0 then
            given = true
            if tonumber(redis.call('GET', part[2]) or '0') - amount <= 0 then
                redis.call('DEL', part[2])
            else
                redis.call('DECRBY', part[2], string.format('%.0f', amount))
            end
        end
        if part[1] == MONEY and part[4] ~= '' then
            left[#left + 1] = {MONEY, part[2], 0, part[4], part[5]}
        end
    end
    if #left == 0 then
        redis.call('HDEL', KEYS[2], page[2][i])
    elseif given then
        redis.call('HSET', KEYS[2], page[2][i], cmsgpack.pack(left))
    end
end
if page[1] == '0' then
    redis.call('SREM', KEYS[3], ARGV[1])
    redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return page[1]
