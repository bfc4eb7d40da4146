-- Ends calls and books what they cost, exactly once: the journal's mark moves on only from where the sender believes it.
-- KEYS: holds of the journal, marks of all journals (hash), ledger (stream), clients that spent (set)
-- ARGV[1], msgpack: {journal, ended, batch or false, now in seconds or 0 for this server's clock}
--   ended: holds whose calls run no more; what they have reserved otherwise stays
-- ARGV[2] and on: the batch's entries of the ledger, as they are stored
--   batch: {mark to move on from, mark to move to, items, sums, deltas, clients, most ledger entries}
--     item: {hold, input tokens, output tokens, nano-dollars}; sum: {name, life in seconds or 0, nano-dollars}
--     delta: {name, life in seconds, field, number, field, number, ...} for counters of a hash
-- Gives the journal's mark: the batch's own if it was booked now. Ending twice, or what is not held any more, does nothing.
local RATE, MONEY, RUNNING = 1, 2, 3
local asked = cmsgpack.unpack(ARGV[1])
local journal, ended, batch = asked[1], asked[2], asked[3]

local function whole(number)
    return string.format('%.0f', number)
end

local function take(name, amount)
    local left = tonumber(redis.call('GET', name) or '0') - amount
    if left <= 0 then
        redis.call('DEL', name)
    else
        redis.call('DECRBY', name, whole(amount))
    end
end

for _, hold in ipairs(ended) do
    local stored = redis.call('HGET', KEYS[1], hold)
    if stored then
        local kept, stopped = {}, false
        for _, part in ipairs(cmsgpack.unpack(stored)) do
            if part[1] == RUNNING then
                take(part[2], 1)
                stopped = true
            else
                kept[#kept + 1] = part
            end
        end
        if #kept == 0 then
            redis.call('HDEL', KEYS[1], hold)
        elseif stopped then
            redis.call('HSET', KEYS[1], hold, cmsgpack.pack(kept))
        end
    end
end

local mark = tonumber(redis.call('HGET', KEYS[2], journal) or '0')
if not batch or mark ~= batch[1] then
    return mark
end

local now = asked[4]
if now == 0 then now = tonumber(redis.call('TIME')[1]) end

local function correct(part, actual)
    local _, name, slot, reserved, _, parts, span = unpack(part)
    if actual == reserved or slot < math.floor(now / span) - parts or redis.call('HEXISTS', name, slot) == 0 then
        return
    end
    redis.call('HINCRBY', name, slot, whole(actual - reserved))
    redis.call('HINCRBY', name, 'sum', whole(actual - reserved))
end

for _, item in ipairs(batch[3]) do
    local stored = redis.call('HGET', KEYS[1], item[1])
    if stored then
        local tokens = {1, item[2] + item[3], item[2], item[3]}
        for _, part in ipairs(cmsgpack.unpack(stored)) do
            if part[1] == RATE then
                correct(part, tokens[part[5]])
            elseif part[1] == MONEY then
                take(part[2], part[3])
                if part[4] ~= '' and item[4] > 0 then
                    redis.call('INCRBY', part[4], whole(item[4]))
                    if part[5] > 0 then redis.call('EXPIRE', part[4], part[5]) end
                end
            else
                take(part[2], 1)
            end
        end
        redis.call('HDEL', KEYS[1], item[1])
    end
end
for _, sum in ipairs(batch[4]) do
    redis.call('INCRBY', sum[1], whole(sum[3]))
    if sum[2] > 0 then redis.call('EXPIRE', sum[1], sum[2]) end
end
for i = 2, #ARGV do
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', batch[7], '*', 'entry', ARGV[i])
end
for _, delta in ipairs(batch[5]) do
    for i = 3, #delta, 2 do
        redis.call('HINCRBY', delta[1], delta[i], whole(delta[i + 1]))
    end
    if delta[2] > 0 then redis.call('EXPIRE', delta[1], delta[2]) end
end
if #batch[6] > 0 then redis.call('SADD', KEYS[4], unpack(batch[6])) end
redis.call('HSET', KEYS[2], journal, whole(batch[2]))
return batch[2]
