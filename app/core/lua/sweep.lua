-- Gives back what a dead worker's calls have reserved. Does nothing as long as the worker shows signs of life.
-- KEYS: the worker's sign of life, its holds, the set of workers
-- ARGV: the worker, most holds in one go
-- Gives how many holds may be left.
local RATE, MONEY = 1, 2
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
local page = redis.call('HSCAN', KEYS[2], '0', 'COUNT', ARGV[2])[2]
for i = 1, #page, 2 do
    for _, part in ipairs(cmsgpack.unpack(page[i + 1])) do
        if part[1] ~= RATE then
            local amount = part[1] == MONEY and part[3] or 1
            if tonumber(redis.call('GET', part[2]) or '0') - amount <= 0 then
                redis.call('DEL', part[2])
            else
                redis.call('DECRBY', part[2], string.format('%.0f', amount))
            end
        end
    end
    redis.call('HDEL', KEYS[2], page[i])
end
local left = redis.call('HLEN', KEYS[2])
if left == 0 then redis.call('SREM', KEYS[3], ARGV[1]) end
return left
