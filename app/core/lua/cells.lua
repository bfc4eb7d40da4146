-- Adds fresh facts (see services/cells.py) to the tables of sums, each exactly once, and forgets them.
-- KEYS: fresh hash, the name that all tables' names begin with
-- ARGV: now, most rows, plan as JSON: [step, kept_s, cube_kept_s (0: no cube), most cells] for each step
-- Gives how many facts were added, how many are left, how many could not be read.
local SEPARATOR, OTHER = '\t', 'other'
local USD, UPSTREAM_USD = 4, 17  -- places of dollars; the nano-dollars over follow
local SPAN_S = {minute = 60, hour = 3600, day = 86400, month = 32 * 86400}
local HOLDS_S = {minute = 3600, hour = 86400, day = 32 * 86400}  -- the container that `all` keeps its buckets in
local AT_ONCE = 500
local base, now, most_rows = KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local plan = cjson.decode(ARGV[3])

local function number(n)
    return string.format('%d', n)
end

local function add(cells, field, amounts, times)
    local sums = cells[field]
    if not sums then
        sums = {}
        cells[field] = sums
    end
    local held = #sums
    for place = 1, #amounts do
        sums[place] = amounts[place] * times + (place <= held and sums[place] or 0)
    end
end

-- 1. Sums by minute: of all, of each client, key and model; and of each whole row by hour.
local minutes, hours, waits, broken = {}, {}, {}, 0

local function take(fact, times)
    local readable, parts = pcall(cjson.decode, fact)
    if not readable then
        broken = broken + 1
        return 0
    end
    for _, row in ipairs(parts[1]) do
        local minute, month, client, key, model, amounts = unpack(row, 1, 6)
        local sums = minutes[minute]
        if not sums then
            sums = {month = month, all = {}, clients = {}, keys = {}, models = {}}
            minutes[minute] = sums
        end
        add(sums.all, '', amounts, times)
        add(sums.clients, client, amounts, times)
        add(sums.keys, key, amounts, times)
        add(sums.models, model, amounts, times)
        local hour = math.floor(minute / 60)
        hours[hour] = hours[hour] or {}
        add(hours[hour], client .. SEPARATOR .. key .. SEPARATOR .. model, amounts, times)
    end
    for _, wait in ipairs(parts[2]) do
        local minute, month, bin, count = unpack(wait, 1, 4)
        waits[minute] = waits[minute] or {month = month, bins = {}}
        waits[minute].bins[bin] = (waits[minute].bins[bin] or 0) + count * times
    end
    return #parts[1]
end

local cursor, seen, taken = '0', 0, 0
repeat
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 4)
    cursor = page[1]
    for place = 1, #page[2], 2 do
        if seen < most_rows then
            seen = seen + take(page[2][place], tonumber(page[2][place + 1]))
            taken = taken + 1
            -- At once: a scan may show a field twice.
            redis.call('HDEL', KEYS[1], page[2][place])
        end
    end
until cursor == '0' or seen >= most_rows

-- 2. The tables that they belong to.
local tables = {}

local function put(step, kind, bucket, cells, ends_at, most)
    if ends_at and ends_at <= now then
        return
    end
    local name = table.concat({base, step, kind, bucket}, ':')
    local content = tables[name]
    if not content then
        content = {ends_at = ends_at, most = most, cells = {}}
        tables[name] = content
    end
    for field, sums in pairs(cells) do
        add(content.cells, field, sums, 1)
    end
end

local function bucket_of(step, minute, month)
    return number(step == 'month' and month or math.floor(minute * 60 / SPAN_S[step]))
end

local function container_of(step, minute, month)
    if step == 'month' then
        return ''
    end
    return number(step == 'day' and month or math.floor(minute * 60 / HOLDS_S[step]))
end

for minute, sums in pairs(minutes) do
    for _, keeping in ipairs(plan) do
        local step, kept_s, _, most = unpack(keeping)
        local ends_at = minute * 60 + SPAN_S[step] + kept_s
        local bucket = bucket_of(step, minute, sums.month)
        for _, kind in ipairs({'clients', 'keys', 'models'}) do
            put(step, kind, bucket, sums[kind], ends_at, most)
        end
        -- What is summed up over months is kept for good.
        put(step, 'all', container_of(step, minute, sums.month), {[bucket] = sums.all['']},
            HOLDS_S[step] and ends_at + HOLDS_S[step])
    end
end
for hour, cells in pairs(hours) do
    for _, keeping in ipairs(plan) do
        local step, _, kept_s, most = unpack(keeping)
        if kept_s > 0 then
            put(step, 'cube', bucket_of(step, hour * 60, 0), cells, hour * 3600 + SPAN_S[step] + kept_s, most)
        end
    end
end

-- 3. Writing. A new cell that finds its table full is added to `other`: of its group, account or provider as long as
-- those are few, else of all.
local function overflow(name, field, held, most)
    local pair = field:match('^[^\t]*\t([^\t]*)$')
    local kin = pair and OTHER .. SEPARATOR .. pair
    if kin and (held < most + 64 or redis.call('HEXISTS', name, kin) == 1) then
        return kin
    end
    local _, more = field:gsub(SEPARATOR, '')
    return OTHER .. string.rep(SEPARATOR .. OTHER, more)
end

local function packed(sums)
    for _, place in ipairs({USD, UPSTREAM_USD}) do
        local rest = sums[place + 1]
        if rest and (rest < 0 or rest >= 1e9) then
            local over = math.floor(rest / 1e9)
            sums[place], sums[place + 1] = sums[place] + over, rest - over * 1e9
        end
    end
    while #sums > 1 and sums[#sums] == 0 do
        sums[#sums] = nil
    end
    return cmsgpack.pack(sums)
end

local function write(name, cells, fields, content, held)
    local olds, changed, crowded = redis.call('HMGET', name, unpack(fields)), {}, {}
    for place, field in ipairs(fields) do
        if olds[place] then
            add(cells, field, cmsgpack.unpack(olds[place]), 1)
        elseif content.most and held >= content.most then
            local instead = overflow(name, field, held, content.most)
            add(crowded, instead, cells[field], 1)
            field = nil
        else
            held = held + 1
        end
        if field then
            changed[#changed + 1] = field
            changed[#changed + 1] = packed(cells[field])
        end
    end
    if #changed > 0 then
        redis.call('HSET', name, unpack(changed))
    end
    for field, sums in pairs(crowded) do
        local old = redis.call('HGET', name, field)
        if old then
            add(crowded, field, cmsgpack.unpack(old), 1)
        end
        redis.call('HSET', name, field, packed(sums))
    end
    return held
end

for name, content in pairs(tables) do
    local held = redis.call('HLEN', name)
    local fresh = held == 0
    local fields = {}
    for field in pairs(content.cells) do
        fields[#fields + 1] = field
        if #fields == AT_ONCE then
            held = write(name, content.cells, fields, content, held)
            fields = {}
        end
    end
    if #fields > 0 then
        write(name, content.cells, fields, content, held)
    end
    if fresh and content.ends_at then
        redis.call('EXPIRE', name, number(content.ends_at - now))
    end
end

for minute, wait in pairs(waits) do
    for _, keeping in ipairs(plan) do
        local step, kept_s = unpack(keeping)
        local ends_at = minute * 60 + SPAN_S[step] + kept_s
        if ends_at > now then
            local name = table.concat({base, step, 'waits', bucket_of(step, minute, wait.month)}, ':')
            for bin, count in pairs(wait.bins) do
                redis.call('HINCRBY', name, number(bin), number(count))
            end
            redis.call('EXPIRE', name, number(ends_at - now))
        end
    end
end

return {taken, redis.call('HLEN', KEYS[1]), broken}
