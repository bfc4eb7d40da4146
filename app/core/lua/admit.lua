-- Lets calls in, or not: each fits into all of its limits and is counted in all of them, or it is counted in none.
-- KEYS: the holds of the worker that asks; every other name shares its slot and stands in the checks
-- ARGV[1], msgpack: {now in seconds or 0 for this server's clock, until when it counts or 0, forms, calls}
--   form: a list of checks, each {kind, name, size, shadow, ...}
--     kind 1, a sliding window: ... unit (1 calls, 2 tokens, 3 input, 4 output), parts, seconds of a part
--     kind 2, money: ... the name of what is held, its life in seconds, whether `name` is written here alone (0, 1)
--     kind 3, running calls
--   call: {form (from 1), hold, nano-dollars, input tokens, output tokens, least nano-dollars (0: no less than asked)}
-- Gives msgpack: {now, for each call {granted nano-dollars or -1, failed check or 0, in how many seconds it fits or 0,
-- shadow checks that it would have failed, what is used of each check}}; no calls where it comes too late: whoever asked
-- has given up by then, and may have ended what would be held now.
local RATE, MONEY, RUNNING = 1, 2, 3
local asked = cmsgpack.unpack(ARGV[1])
local now, latest, forms, calls = asked[1], asked[2], asked[3], asked[4]
if now == 0 then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
if latest > 0 and now > latest then
    return cmsgpack.pack({now, {}})
end

local windows, numbers, added, lives, holds, order = {}, {}, {}, {}, {}, {}

-- What counts of a window, and how much in all; what has slid out is forgotten.
local function parts_of(found)
    local counts, used, gone, slid = {}, 0, {}, 0
    local stored = redis.call('HGETALL', found.name)
    for i = 1, #stored, 2 do
        local part, count = tonumber(stored[i]), tonumber(stored[i + 1])
        if part and part < found.oldest then
            gone[#gone + 1] = stored[i]
            slid = slid + count
        elseif part then
            counts[part] = count
            used = used + count
        end
    end
    if #gone > 0 then
        redis.call('HDEL', found.name, unpack(gone))
        redis.call('HINCRBY', found.name, 'sum', string.format('%.0f', -slid))
    end
    return counts, used
end

-- A window is a hash: part -> count, and `sum` of them all: what slides out was looked for in the part `at`.
local function window(check)
    local name, parts, span = check[2], check[6], check[7]
    local found = windows[name]
    if found then return found end
    found = {name = name, part = math.floor(now / span), added = 0, life = (parts + 2) * span}
    -- The oldest part is only partly inside, and counted whole: no window of this length ever holds more.
    found.oldest = found.part - parts
    local known = redis.call('HMGET', name, 'at', 'sum')
    if known[1] and tonumber(known[1]) == found.part then
        found.used = tonumber(known[2])
    else
        local _, used = parts_of(found)
        found.used, found.moved = used, true
    end
    windows[name] = found
    return found
end

local function number(name)
    local found = numbers[name]
    if not found then
        found = tonumber(redis.call('GET', name) or '0')
        numbers[name] = found
    end
    return found
end

local function add(name, amount, life)
    numbers[name] = number(name) + amount
    if not added[name] then order[#order + 1] = name end
    added[name] = (added[name] or 0) + amount
    lives[name] = life
end

local function fits_in(found, check, amount)
    local counts, parts, left = parts_of(found), {}, found.used
    counts[found.part] = (counts[found.part] or 0) + found.added
    for part in pairs(counts) do parts[#parts + 1] = part end
    table.sort(parts)
    for _, part in ipairs(parts) do
        left = left - counts[part]
        if left + amount <= check[3] then return (part + check[6] + 1) * check[7] - now end
    end
    return (found.part + check[6] + 1) * check[7] - now
end

local answers = {}
for number_of_call, call in ipairs(calls) do
    local form, nano = forms[call[1]], call[3]
    local amounts = {1, call[4] + call[5], call[4], call[5]}
    local failed, wait, shadows, used = 0, 0, {}, {}
    for i, check in ipairs(form) do
        local fits, room
        if check[1] == RATE then
            local found = window(check)
            fits = found.used + amounts[check[5]] <= check[3]
            if not fits then room = fits_in(found, check, amounts[check[5]]) end
            used[i] = found.used
        elseif check[1] == MONEY then
            used[i] = number(check[2]) + number(check[5])
            local left = check[3] - used[i]
            fits = left >= nano
            if not fits and check[4] == 0 and call[6] > 0 and left >= call[6] then
                nano, fits = left, true
            end
        else
            used[i] = number(check[2])
            fits = used[i] + 1 <= check[3]
        end
        if not fits then
            if check[4] == 1 then
                shadows[#shadows + 1] = i
            elseif failed == 0 then
                failed, wait = i, room or 0
            end
        end
    end
    if failed == 0 then
        local held = {}
        for i, check in ipairs(form) do
            if check[1] == RATE then
                local found, amount = window(check), amounts[check[5]]
                found.used, found.added = found.used + amount, found.added + amount
                if check[5] > 1 then
                    held[#held + 1] = {RATE, check[2], found.part, amount, check[5], check[6], check[7]}
                end
                used[i] = found.used
            elseif check[1] == MONEY then
                add(check[5], nano, check[6])
                held[#held + 1] = {MONEY, check[5], nano, check[7] == 1 and check[2] or '', check[6]}
                used[i] = used[i] + nano
            else
                add(check[2], 1, 86400)
                held[#held + 1] = {RUNNING, check[2]}
                used[i] = used[i] + 1
            end
        end
        if #held > 0 then
            holds[#holds + 1] = call[2]
            holds[#holds + 1] = cmsgpack.pack(held)
        end
    end
    answers[number_of_call] = {failed == 0 and nano or -1, failed, wait, shadows, used}
end

for name, found in pairs(windows) do
    if found.added > 0 then
        redis.call('HINCRBY', name, found.part, string.format('%.0f', found.added))
        redis.call('HSET', name, 'at', found.part, 'sum', string.format('%.0f', found.used))
        if found.moved then redis.call('EXPIRE', name, math.ceil(found.life)) end
    end
end
for _, name in ipairs(order) do
    redis.call('INCRBY', name, string.format('%.0f', added[name]))
    if lives[name] > 0 then redis.call('EXPIRE', name, lives[name]) end
end
for i = 1, #holds, 1000 do
    redis.call('HSET', KEYS[1], unpack(holds, i, math.min(i + 999, #holds)))
end
return cmsgpack.pack({now, answers})
