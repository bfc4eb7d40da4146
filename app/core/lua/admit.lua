-- Lets calls in, or not: each fits into all of its limits and is counted in all of them, or it is counted in none.
-- KEYS: the holds of the worker that asks; every other name shares its slot and stands in the checks
-- ARGV[1], msgpack: {now in seconds or 0 for this server's clock, until when it counts or 0, forms, calls}
--   form: a list of checks, each {kind, name, size, shadow, ...}
--     kind 1, a sliding window: ... unit (1 calls, 2 tokens, 3 input, 4 output), parts, seconds of a part
--     kind 2, money: ... the name of what is held, its life in seconds
--     kind 3, running calls
--   call: {form (from 1), hold, nano-dollars, input tokens, output tokens, least nano-dollars (0: no less than asked)}
-- Gives msgpack: {now, for each form what is used of each check in the end, for each call an answer}; no answers where
-- it comes too late: whoever asked has given up by then, and may have ended what would be held now.
--   answer: nano-dollars where a call gets all that it asks for, else {granted nano-dollars or -1, failed check or 0, in
--   how many seconds it fits or 0, what is used of the check that failed, shadow checks that it would have failed}
-- A window is a hash: number of a part -> its count, `sum`: the sum of its parts, `first`: no part is older. A hold is
-- two msgpack values: {nano-dollars, tokens, input, output, 1 as long as it runs} and where they are reserved, a list of
--   {1, window, part, unit, parts, seconds of a part}, {2, name of what is held}, {3, name}
-- Calls that are let in together have the list in common: then it stands in a hash of such lists, with the number of
-- holds that name it, until the last of them is gone.
local RATE, MONEY, RUNNING = 1, 2, 3
local FEW = 8
local asked = cmsgpack.unpack(ARGV[1])
local now, latest, forms, calls = asked[1], asked[2], asked[3], asked[4]
if now == 0 then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
if latest > 0 and now > latest then
    return cmsgpack.pack({now, {}, {}})
end

local windows, numbers, added, lives, holds, order = {}, {}, {}, {}, {}, {}

local function whole(value)
    return string.format('%d', value)
end

-- Parts that have slid out go. Few are looked at by name; after a pause the whole window is counted anew.
local function slide(name, found, oldest)
    local gone = {}
    if found.first and oldest - found.first <= FEW then
        for part = found.first, oldest - 1 do gone[#gone + 1] = whole(part) end
        for _, count in ipairs(redis.call('HMGET', name, unpack(gone))) do
            found.used = found.used - (tonumber(count) or 0)
        end
    else
        found.used = 0
        local stored = redis.call('HGETALL', name)
        for i = 1, #stored, 2 do
            local part = tonumber(stored[i])
            if part and part < oldest then
                gone[#gone + 1] = stored[i]
            elseif part then
                found.used = found.used + tonumber(stored[i + 1])
            end
        end
    end
    if #gone > 0 then redis.call('HDEL', name, unpack(gone)) end
    found.first, found.moved, found.changed = oldest, true, #gone > 0
end

local function window(check)
    local name, parts, span = check[2], check[6], check[7]
    local found = windows[name]
    if found then return found end
    local part = math.floor(now / span)
    -- The oldest part is only partly inside, and counted whole: no window of this length ever holds more.
    local oldest = part - parts
    local stored = redis.call('HMGET', name, whole(part), 'sum', 'first')
    found = {part = part, here = tonumber(stored[1]), used = tonumber(stored[2]) or 0, first = tonumber(stored[3]),
        added = 0, life = (parts + 2) * span}
    if not found.first or found.first < oldest then
        slide(name, found, oldest)
    elseif part < found.first then
        found.first, found.moved = part, true
    end
    windows[name] = found
    return found
end

-- All numbers in one go: one by one they would cost more than all the rest.
local function read_numbers()
    local names = {}
    local function note(name)
        if not numbers[name] then
            numbers[name] = 0
            names[#names + 1] = name
        end
    end
    for _, form in ipairs(forms) do
        for _, check in ipairs(form) do
            if check[1] ~= RATE then note(check[2]) end
            if check[1] == MONEY then note(check[5]) end
        end
    end
    for from = 1, #names, 1000 do
        local found = redis.call('MGET', unpack(names, from, math.min(from + 999, #names)))
        for i, value in ipairs(found) do
            if value then numbers[names[from + i - 1]] = tonumber(value) end
        end
    end
end

-- What is not there yet gets its life; running calls may go on for longer than any.
local function add(name, amount, life, always)
    if not added[name] then
        order[#order + 1] = name
        lives[name] = (always or numbers[name] == 0) and life or 0
    end
    numbers[name] = numbers[name] + amount
    added[name] = (added[name] or 0) + amount
end

-- The window is read once, however many it refuses.
local function fits_in(found, check, amount)
    local parts, span = check[6], check[7]
    if amount <= check[3] then
        if not found.counts then
            found.counts = {}
            local stored = redis.call('HGETALL', check[2])
            for i = 1, #stored, 2 do
                local part = tonumber(stored[i])
                if part then found.counts[part] = tonumber(stored[i + 1]) end
            end
        end
        local left = found.used
        for part = found.first, found.part - 1 do
            left = left - (found.counts[part] or 0)
            if found.counts[part] and left + amount <= check[3] then return (part + parts + 1) * span - now end
        end
    end
    return (found.part + parts + 1) * span - now
end

-- Where calls of a form reserve: the same for all of them.
local function places_of(number_of_form)
    local list = {}
    for _, check in ipairs(forms[number_of_form]) do
        if check[1] == MONEY then
            list[#list + 1] = {MONEY, check[5]}
        elseif check[1] == RUNNING then
            list[#list + 1] = {RUNNING, check[2]}
        elseif check[5] > 1 then
            list[#list + 1] = {RATE, check[2], window(check).part, check[5], check[6], check[7]}
        end
    end
    return #list > 0 and cmsgpack.pack(list)
end

-- What a call takes of a check.
local function amount_of(check, nano, amounts)
    if check[1] == RATE then return amounts[check[5]] end
    return check[1] == MONEY and nano or 1
end

local function used_of(check)
    if check[1] == RATE then return window(check).used end
    return numbers[check[2]] + (check[1] == MONEY and numbers[check[5]] or 0)
end

local function count(check, amount)
    if check[1] == RATE then
        local found = windows[check[2]]
        found.used, found.added = found.used + amount, found.added + amount
    elseif check[1] == MONEY then
        add(check[5], amount, check[6])
    else
        add(check[2], amount, 86400, true)
    end
end

local header, header_of = '', {}
local function hold(call, nano)
    if header_of[1] ~= nano or header_of[2] ~= call[4] or header_of[3] ~= call[5] then
        header = cmsgpack.pack({nano, call[4] + call[5], call[4], call[5], 1})
        header_of = {nano, call[4], call[5]}
    end
    local list = holds[call[1]]
    if not list then
        list = {}
        holds[call[1]] = list
    end
    list[#list + 1] = call[2]
    list[#list + 1] = header
end

-- One call, check by check.
local function decide(call)
    local form, nano = forms[call[1]], call[3]
    local amounts = {1, call[4] + call[5], call[4], call[5]}
    local failed, wait, shadows, full = 0, 0, {}, 0
    for i, check in ipairs(form) do
        local used = used_of(check)
        local left = check[3] - used
        local fits = left >= amount_of(check, nano, amounts)
        if not fits and check[1] == MONEY and check[4] == 0 and call[6] > 0 and left >= call[6] then
            nano, fits = left, true
        end
        if not fits and check[4] == 1 then
            shadows[#shadows + 1] = i
        elseif not fits and failed == 0 then
            failed, full = i, used
            wait = check[1] == RATE and fits_in(windows[check[2]], check, amounts[check[5]]) or 0
        end
    end
    if failed > 0 then return {-1, failed, wait, full, shadows} end
    for _, check in ipairs(form) do count(check, amount_of(check, nano, amounts)) end
    hold(call, nano)
    return {nano, 0, 0, 0, shadows}
end

-- Calls of one form that come one after the other: as long as each fits into the tightest check of each kind, all are
-- counted together. `room`: for calls, tokens, input, output, money, running calls.
local form, room, calm, taken

local function measure()
    room, calm = {math.huge, math.huge, math.huge, math.huge, math.huge, math.huge}, true
    taken = {0, 0, 0, 0, 0}
    local seen = {}
    for _, check in ipairs(forms[form]) do
        local kind = check[1] == RATE and check[5] or check[1] == MONEY and 5 or 6
        local left = check[3] - used_of(check)
        if left < room[kind] then room[kind] = left end
        local name = check[1] == MONEY and check[5] or check[2]
        if seen[name] then calm = false end
        seen[name] = true
    end
end

local function count_all()
    if taken and taken[1] > 0 then
        for _, check in ipairs(forms[form]) do
            count(check, check[1] == MONEY and taken[5] or check[1] == RATE and taken[check[5]] or taken[1])
        end
        taken = {0, 0, 0, 0, 0}
    end
end

local function fits(call)
    local nano, asks, writes = call[3], call[4], call[5]
    local tokens = asks + writes
    if not calm or room[1] < 1 or room[2] < tokens or room[3] < asks or room[4] < writes or room[5] < nano
        or room[6] < 1 then
        return false
    end
    room[1], room[2], room[3] = room[1] - 1, room[2] - tokens, room[3] - asks
    room[4], room[5], room[6] = room[4] - writes, room[5] - nano, room[6] - 1
    taken[1], taken[2], taken[3] = taken[1] + 1, taken[2] + tokens, taken[3] + asks
    taken[4], taken[5] = taken[4] + writes, taken[5] + nano
    return true
end

read_numbers()
local answers, refused, refused_as = {}, nil, nil
for number_of_call, call in ipairs(calls) do
    if call[1] ~= form then
        count_all()
        form, refused = call[1], nil
        measure()
    end
    if fits(call) then
        hold(call, call[3])
        answers[number_of_call] = call[3]
    elseif refused and call[3] == refused[3] and call[4] == refused[4] and call[5] == refused[5]
        and call[6] == refused[6] and taken[1] == 0 then
        -- Nothing has changed since.
        answers[number_of_call] = refused_as
    else
        count_all()
        local answer = decide(call)
        answers[number_of_call] = answer
        if answer[2] > 0 then
            refused, refused_as = call, answer
        else
            refused = nil
            measure()
        end
    end
end
count_all()

for name, found in pairs(windows) do
    if found.added > 0 then
        -- What is read each time stands in front: a small hash is searched from there.
        if found.moved then redis.call('HSET', name, 'sum', 0, 'first', whole(found.first)) end
        redis.call('HSET', name, 'sum', whole(found.used), whole(found.part), whole((found.here or 0) + found.added))
        if not found.here then redis.call('EXPIRE', name, math.ceil(found.life)) end
    elseif found.changed then
        redis.call('HSET', name, 'sum', whole(found.used), 'first', whole(found.first))
    end
end
for _, name in ipairs(order) do
    redis.call('INCRBY', name, whole(added[name]))
    if lives[name] > 0 then redis.call('EXPIRE', name, lives[name]) end
end
for number_of_form, list in pairs(holds) do
    local places = places_of(number_of_form)
    if places then
        if #list > 2 then
            redis.call('HSET', KEYS[1] .. ':places', list[1], places, list[1] .. '#', #list / 2)
            places = cmsgpack.pack(list[1])
        end
        for i = 2, #list, 2 do list[i] = list[i] .. places end
        for i = 1, #list, 1000 do
            redis.call('HSET', KEYS[1], unpack(list, i, math.min(i + 999, #list)))
        end
    end
end
local totals = {}
for i, checks in ipairs(forms) do
    totals[i] = {}
    for place, check in ipairs(checks) do totals[i][place] = used_of(check) end
end
return cmsgpack.pack({now, totals, answers})
