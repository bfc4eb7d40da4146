-- Ends calls and books what they cost, exactly once: the journal's mark moves on only from where the sender believes it.
-- KEYS: holds of the journal, marks of all journals (hash), ledger (stream), clients that spent (set)
-- ARGV[1], msgpack: {journal, ended, batch or false, now in seconds or 0 for this server's clock}
--   ended: holds whose calls run no more; what they have reserved otherwise stays
-- ARGV[2] and on: the batch's entries of the ledger, as they are stored
--   batch: {mark to move on from, mark to move to, items, sums, deltas, clients, most ledger entries}
--     item: {hold, input tokens, output tokens, ...}; sum: {name, life in seconds or 0, nano-dollars}
--     delta: {name, life in seconds, field, number, field, number, ...} for counters of a hash
-- Gives the journal's mark: the batch's own if it was booked now. Ending twice, or what is not held any more, does nothing.
-- How a hold and a window are stored: see admit.
local RATE, MONEY, RUNNING = 1, 2, 3
local asked = cmsgpack.unpack(ARGV[1])
local journal, ended, batch = asked[1], asked[2], asked[3]
local taken = {}

local function whole(number)
    return string.format('%d', number)
end

local function more(sums, name, amount)
    sums[name] = (sums[name] or 0) + amount
end

local function give_back()
    for name, amount in pairs(taken) do
        if tonumber(redis.call('GET', name) or '0') <= amount then
            redis.call('DEL', name)
        else
            redis.call('DECRBY', name, whole(amount))
        end
    end
end

local function places_of(where)
    local found = cmsgpack.unpack(where)
    if type(found) == 'table' then return found end
    local stored = redis.call('HGET', KEYS[1] .. ':places', found)
    return stored and cmsgpack.unpack(stored) or {}
end

-- So many holds less stand there.
local function leave(where, count)
    local found = cmsgpack.unpack(where)
    if type(found) ~= 'table' and redis.call('HINCRBY', KEYS[1] .. ':places', found .. '#', -count) <= 0 then
        redis.call('HDEL', KEYS[1] .. ':places', found, found .. '#')
    end
end

for _, hold in ipairs(ended) do
    local stored = redis.call('HGET', KEYS[1], hold)
    if stored then
        local behind, amounts = cmsgpack.unpack_one(stored)
        if amounts[5] == 1 then
            local stopped, left, where = false, false, string.sub(stored, behind + 1)
            for _, part in ipairs(places_of(where)) do
                if part[1] == RUNNING then
                    more(taken, part[2], 1)
                    stopped = true
                else
                    left = true
                end
            end
            if not left then
                redis.call('HDEL', KEYS[1], hold)
                leave(where, 1)
            elseif stopped then
                amounts[5] = 0
                redis.call('HSET', KEYS[1], hold, cmsgpack.pack(amounts) .. where)
            end
        end
    end
end

local mark = tonumber(redis.call('HGET', KEYS[2], journal) or '0')
if not batch or mark ~= batch[1] then
    give_back()
    return mark
end

local now = asked[4]
if now == 0 then now = tonumber(redis.call('TIME')[1]) end

local windows, groups = {}, {}
local function correct(part, by)
    local _, name, slot, _, parts, span = unpack(part)
    if by ~= 0 and slot >= math.floor(now / span) - parts then
        windows[name] = windows[name] or {}
        more(windows[name], slot, by)
    end
end

-- Holds that stand in the same places are looked at together. In `sums`: tokens, input and output above what was
-- reserved, nano-dollars, running calls, holds.
local function gather(stored, item)
    local behind, amounts = cmsgpack.unpack_one(stored)
    local where = string.sub(stored, behind + 1)
    local sums = groups[where]
    if not sums then
        sums = {0, 0, 0, 0, 0, 0}
        groups[where] = sums
    end
    sums[1] = sums[1] + item[2] + item[3] - amounts[2]
    sums[2], sums[3] = sums[2] + item[2] - amounts[3], sums[3] + item[3] - amounts[4]
    sums[4], sums[5], sums[6] = sums[4] + amounts[1], sums[5] + amounts[5], sums[6] + 1
end

local settled, seen = {}, {}
for i, item in ipairs(batch[3]) do settled[i] = item[1] end
for from = 1, #settled, 1000 do
    local stored = redis.call('HMGET', KEYS[1], unpack(settled, from, math.min(from + 999, #settled)))
    for i, hold in ipairs(stored) do
        local item = batch[3][from + i - 1]
        if hold and not seen[item[1]] then
            seen[item[1]] = true
            gather(hold, item)
        end
    end
    redis.call('HDEL', KEYS[1], unpack(settled, from, math.min(from + 999, #settled)))
end
for where, sums in pairs(groups) do
    for _, part in ipairs(places_of(where)) do
        if part[1] == RATE then
            correct(part, sums[part[4] - 1])
        else
            more(taken, part[2], part[1] == MONEY and sums[4] or sums[5])
        end
    end
    leave(where, sums[6])
end
give_back()
for name, slots in pairs(windows) do
    for slot, by in pairs(slots) do
        if redis.call('HEXISTS', name, whole(slot)) == 1 then
            redis.call('HINCRBY', name, whole(slot), whole(by))
            redis.call('HINCRBY', name, 'sum', whole(by))
        end
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
