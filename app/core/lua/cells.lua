-- Brings fresh facts (see services/cells.py) into the tables of sums, each exactly once, in two steps that are each short:
-- while there are fresh facts it merges some of them by mark and forgets them, else it adds some merged marks to the tables.
-- KEYS: fresh hash, due hash (sums by mark), the name that all tables' names begin with
-- ARGV: now, most rows to merge, most marks to add (0: merge alone),
--   plan as JSON: [step, kept_s, cube_kept_s, most cells, codes_kept_s] for each step (0: none), seconds strips are kept,
--   the signs that samples are written in
-- Gives how many facts were merged, how many facts are left, how many could not be read, how many marks are due.
local SEPARATOR, OTHER, TROUBLE = '\t', 'other', '!'
local USD, UPSTREAM_USD, SERVED, RESCUED, FAILED, LEFT = 4, 17, 1, 12, 13, 15  -- places; nano-dollars over follow dollars
local SPAN_S = {minute = 60, hour = 3600, day = 86400}
local HOLDS_S = {minute = 3600, hour = 86400, day = 32 * 86400}  -- the container that `all` keeps its buckets in
local DUE_KEPT_S, MOST_LATE, MOST_CODES, MOST_SAMPLES, AT_ONCE = 7 * 86400, 4000, 20000, 300, 400
local LANE, HALF = 2 ^ 48, 2 ^ 47
local fresh, due, base = KEYS[1], KEYS[2], KEYS[3]
local now, most_rows, most_marks = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ALPHABET, FIRST_BINS = ARGV[6], {[0] = 0, [1] = 72, [2] = 144}
local FORMS = {}
for lanes = 1, 18 do
    FORMS[lanes] = '<' .. string.rep('I6', lanes)
end

local function number(n)
    return string.format('%d', n)
end

-- A cell: how many lanes, the lanes of 48 bits as one number in two's complement, then what is told of sizes.
local function carried(sums, place)
    local rest = sums[place + 1]
    if rest and (rest < 0 or rest >= 1e9) then
        local over = math.floor(rest / 1e9)
        sums[place], sums[place + 1] = sums[place] + over, rest - over * 1e9
    end
end

local function packed(sums, tail)
    carried(sums, USD)
    carried(sums, UPSTREAM_USD)
    local last = #sums
    while last > 1 and sums[last] == 0 do
        sums[last] = nil
        last = last - 1
    end
    local lent = 0
    for place = 1, last do
        local lane = sums[place] - lent
        lent = 0
        if lane < 0 then
            lane, lent = lane + LANE, 1
        end
        sums[place] = lane
    end
    return string.char(last) .. struct.pack(FORMS[last], unpack(sums)) .. (tail or '')
end

local function unpacked(cell)
    local lanes = string.byte(cell)
    local sums = {struct.unpack(FORMS[lanes], cell, 2)}
    local tail = sums[lanes + 1]
    sums[lanes + 1] = nil
    local lent = 0
    for place = 1, lanes do
        local lane = sums[place] + lent
        lent = 0
        if lane >= HALF then
            lane, lent = lane - LANE, 1
        end
        sums[place] = lane
    end
    return sums, tail
end

local function add(sums, amounts)
    for place = #sums + 1, #amounts do
        sums[place] = 0
    end
    for place, amount in ipairs(amounts) do
        if amount ~= 0 then
            sums[place] = sums[place] + amount
        end
    end
end

local BIN = {}
for place = 1, #ALPHABET do
    BIN[string.byte(ALPHABET, place)] = place - 1
end

-- A sample is a sign each for duration, overhead and first token; a sign that is no bin says that there is none.
local function count_samples(samples, bins)
    for first = 1, #samples, 999 do
        for place, sign in ipairs({string.byte(samples, first, first + 998)}) do
            local bin = BIN[sign]
            if bin then
                bin = bin + FIRST_BINS[place % 3]
                bins[bin] = (bins[bin] or 0) + 1
            end
        end
    end
end

local function count_flat(flat, bins)
    for place = 1, #flat, 2 do
        bins[flat[place]] = (bins[flat[place]] or 0) + flat[place + 1]
    end
end

local function flat_of(bins)
    local flat = {}
    for bin, count in pairs(bins) do
        flat[#flat + 1] = bin
        flat[#flat + 1] = count
    end
    return flat
end

-- 1. Facts are merged by mark: sums, samples as they came, and the bins of those that were too many to carry on.
local marks, broken = {}, 0

local function take(fact, times)
    local readable, parts = pcall(cjson.decode, fact)
    if not readable or type(parts) ~= 'table' or (parts[1][1] and type(parts[1][1][1]) ~= 'string') then
        broken = broken + 1
        return 1
    end
    local weight = #parts[2]
    for _, row in ipairs(parts[1]) do
        local name, amounts, samples = row[1], row[2], row[3]
        weight = weight + 1 + #samples * times / 40
        if times > 1 then
            for place = 1, #amounts do
                amounts[place] = amounts[place] * times
            end
            samples = string.rep(samples, times)
        end
        local mark = marks[name]
        if mark then
            add(mark, amounts)
            mark.samples[#mark.samples + 1] = samples
        else
            amounts.samples = {samples}
            marks[name] = amounts
        end
    end
    for _, trouble in ipairs(parts[2]) do
        local minute, key, code, moved, count = unpack(trouble, 1, 5)
        local name = table.concat({TROUBLE, number(minute), key, code}, SEPARATOR)
        marks[name] = marks[name] or {0, 0, samples = {}}
        add(marks[name], {count * times, count * moved * times})
    end
    return weight
end

local function merge()
    local cursor, seen, taken = '0', 0, 0
    repeat
        local page = redis.call('HSCAN', fresh, cursor, 'COUNT', 4)
        cursor = page[1]
        for place = 1, #page[2], 2 do
            if seen < most_rows then
                seen = seen + take(page[2][place], tonumber(page[2][place + 1]))
                taken = taken + 1
                -- At once: a scan may show a field twice.
                redis.call('HDEL', fresh, page[2][place])
            end
        end
    until cursor == '0' or seen >= most_rows
    local names = {}
    for name in pairs(marks) do
        names[#names + 1] = name
    end
    for first = 1, #names, AT_ONCE do
        local last = math.min(first + AT_ONCE - 1, #names)
        local olds, changed = redis.call('HMGET', due, unpack(names, first, last)), {}
        for place = first, last do
            local name, old = names[place], olds[place - first + 1]
            local mark = marks[name]
            local samples = table.concat(mark.samples)
            mark.samples = nil
            local flat = {}
            if old then
                local sums, before
                sums, before, flat = cmsgpack.unpack(old)
                add(mark, sums)
                samples = before .. samples
            end
            if #samples > MOST_SAMPLES then
                local bins = {}
                count_flat(flat, bins)
                count_samples(samples, bins)
                samples, flat = '', flat_of(bins)
            end
            changed[#changed + 1] = name
            changed[#changed + 1] = cmsgpack.pack(mark, samples, flat)
        end
        redis.call('HSET', due, unpack(changed))
    end
    redis.call('EXPIRE', due, DUE_KEPT_S)
    return taken
end

-- 2. Marks are added to the tables: first here, so that each cell is read and written once.
local plan, tables, strips, codes = nil, {}, {}, {}

local function month_of(minute)
    -- The civil calendar, by eras of 400 years that begin in March.
    local days = math.floor(minute / 1440) + 719468
    local of_era = days % 146097
    local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
    local from_march = math.floor((5 * of_year + 2) / 153)
    return 12 * (year + 400 * math.floor(days / 146097)) + from_march + 2
end

local function put(step, kind, bucket, field, mark, ends_at, most)
    if ends_at and ends_at <= now then
        return
    end
    local name = table.concat({base, step, kind, bucket}, ':')
    local content = tables[name]
    if not content then
        content = {ends_at = ends_at, most = most, cells = {}}
        tables[name] = content
    end
    local cell = content.cells[field]
    if not cell then
        cell = {sums = {}, bins = {}}
        content.cells[field] = cell
    end
    add(cell.sums, mark.sums)
    for bin, count in pairs(mark.bins) do
        cell.bins[bin] = (cell.bins[bin] or 0) + count
    end
end

local late = {}

local function put_mark(minute, client, key, model, mark)
    local month = month_of(minute)
    for _, keeping in ipairs(plan) do
        local step, kept_s, cube_kept_s, most = unpack(keeping)
        local span_s = SPAN_S[step] or 32 * 86400
        local bucket = number(SPAN_S[step] and math.floor(minute * 60 / span_s) or month)
        local ends_at = minute * 60 + span_s + kept_s
        put(step, 'clients', bucket, client, mark, ends_at, most)
        put(step, 'keys', bucket, key, mark, ends_at, most)
        put(step, 'models', bucket, model, mark, ends_at, most)
        if cube_kept_s > 0 then
            local field = client .. SEPARATOR .. key .. SEPARATOR .. model
            put(step, 'cube', bucket, field, mark, minute * 60 + span_s + cube_kept_s, most)
        end
        local holder = ''
        if step == 'day' then
            holder = number(month)
        elseif step ~= 'month' then
            holder = number(math.floor(minute * 60 / HOLDS_S[step]))
        end
        -- What is summed up over months is kept for good.
        put(step, 'all', holder, bucket, mark, HOLDS_S[step] and ends_at + HOLDS_S[step])
        -- Whoever keeps a bucket in memory because it is over must hear that it has changed.
        if step == 'month' then
            if month_of(math.floor(now / 60)) ~= month then late[step .. ':' .. bucket] = true end
        elseif step ~= 'minute' and math.floor(now / span_s) > tonumber(bucket) then
            late[step .. ':' .. bucket] = true
        end
    end
end

local function put_strip(minute, key, served, rescued, failed, moved)
    local hour = math.floor(minute / 60)
    if key == '' or hour * 3600 + tonumber(ARGV[5]) <= now then
        return
    end
    strips[hour] = strips[hour] or {}
    local strip = strips[hour][key] or {}
    strips[hour][key] = strip
    local counts = strip[minute % 60] or {0, 0, 0, 0}
    strip[minute % 60] = counts
    add(counts, {served, rescued, failed, moved})
end

local function spread_one(name, cell)
    local parts = {}
    for part in string.gmatch(name .. SEPARATOR, '([^\t]*)\t') do
        parts[#parts + 1] = part
    end
    local sums, samples, flat = cmsgpack.unpack(cell)
    if parts[1] == TROUBLE then
        local minute = tonumber(parts[2])
        put_strip(minute, parts[3], 0, 0, 0, sums[2] or 0)
        for _, keeping in ipairs(plan) do
            local step, kept_s = keeping[1], keeping[5]
            if kept_s > 0 and minute * 60 + SPAN_S[step] + kept_s > now then
                local bucket = number(math.floor(minute * 60 / SPAN_S[step]))
                local holder = table.concat({base, step, 'codes', bucket}, ':')
                codes[holder] = codes[holder] or {kept_s = kept_s + SPAN_S[step], counts = {}}
                local field = parts[3] .. SEPARATOR .. parts[4]
                codes[holder].counts[field] = (codes[holder].counts[field] or 0) + sums[1]
            end
        end
        return
    end
    local minute = tonumber(parts[1])
    local mark = {sums = sums, bins = {}}
    count_flat(flat, mark.bins)
    count_samples(samples, mark.bins)
    put_mark(minute, parts[2] .. SEPARATOR .. parts[3], parts[4] .. SEPARATOR .. parts[5],
        parts[6] .. SEPARATOR .. parts[7], mark)
    put_strip(minute, parts[4], (sums[SERVED] or 0) + (sums[LEFT] or 0), sums[RESCUED] or 0, sums[FAILED] or 0, 0)
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

local function joined(cell, old)
    local flat = {}
    if old then
        local sums, tail = unpacked(old)
        add(cell.sums, sums)
        if tail <= #old then
            flat = cmsgpack.unpack(string.sub(old, tail))
            for place = 1, #flat, 2 do
                local more = cell.bins[flat[place]]
                if more then
                    flat[place + 1] = flat[place + 1] + more
                    cell.bins[flat[place]] = nil
                end
            end
        end
    end
    for bin, count in pairs(cell.bins) do
        flat[#flat + 1] = bin
        flat[#flat + 1] = count
    end
    return packed(cell.sums, #flat > 0 and cmsgpack.pack(flat) or '')
end

local function write(name, content, fields, held)
    local olds, changed, crowded = redis.call('HMGET', name, unpack(fields)), {}, {}
    for place, field in ipairs(fields) do
        local cell = content.cells[field]
        if not olds[place] and content.most and held >= content.most then
            local instead = overflow(name, field, held, content.most)
            local crowd = crowded[instead] or {sums = {}, bins = {}}
            crowded[instead] = crowd
            add(crowd.sums, cell.sums)
            for bin, count in pairs(cell.bins) do
                crowd.bins[bin] = (crowd.bins[bin] or 0) + count
            end
        else
            held = held + (olds[place] and 0 or 1)
            changed[#changed + 1] = field
            changed[#changed + 1] = joined(cell, olds[place])
        end
    end
    if #changed > 0 then
        redis.call('HSET', name, unpack(changed))
    end
    for field, cell in pairs(crowded) do
        redis.call('HSET', name, field, joined(cell, redis.call('HGET', name, field)))
    end
    return held
end

local function write_tables()
    for name, content in pairs(tables) do
        local held = redis.call('HLEN', name)
        local is_new = held == 0
        local fields = {}
        for field in pairs(content.cells) do
            fields[#fields + 1] = field
            if #fields == AT_ONCE then
                held = write(name, content, fields, held)
                fields = {}
            end
        end
        if #fields > 0 then
            write(name, content, fields, held)
        end
        if is_new and content.ends_at then
            redis.call('EXPIRE', name, number(content.ends_at - now))
        end
    end
end

local function write_strips()
    for hour, keys in pairs(strips) do
        local name = table.concat({base, 'strips', number(hour)}, ':')
        for key, minutes in pairs(keys) do
            local strip = redis.call('HGET', name, key) or ''
            for minute, counts in pairs(minutes) do
                local first = minute * 8
                strip = strip .. string.rep('\0', first + 8 - #strip)
                local olds = {struct.unpack('<I2I2I2I2', strip, first + 1)}
                for place = 1, 4 do
                    counts[place] = math.max(0, math.min(65535, counts[place] + olds[place]))
                end
                strip = string.sub(strip, 1, first) .. struct.pack('<I2I2I2I2', unpack(counts, 1, 4))
                    .. string.sub(strip, first + 9)
            end
            redis.call('HSET', name, key, strip)
        end
        redis.call('EXPIRE', name, number(hour * 3600 + tonumber(ARGV[5]) - now))
    end
    for name, holder in pairs(codes) do
        local room = redis.call('HLEN', name) < MOST_CODES
        for field, count in pairs(holder.counts) do
            if room or redis.call('HEXISTS', name, field) == 1 then
                redis.call('HINCRBY', name, field, number(count))
            end
        end
        redis.call('EXPIRE', name, number(holder.kept_s))
    end
end

local function tell_late()
    local name = base .. ':late'
    if next(late) then
        local turn = redis.call('HINCRBY', name, 'turn', 1)
        if redis.call('HLEN', name) > MOST_LATE then
            redis.call('DEL', name)
            redis.call('HSET', name, 'turn', turn)
        end
        for field in pairs(late) do
            redis.call('HSET', name, field, turn)
        end
    end
end

local function spread()
    plan = cjson.decode(ARGV[4])
    local cursor, seen = '0', 0
    repeat
        local page = redis.call('HSCAN', due, cursor, 'COUNT', most_marks)
        cursor = page[1]
        for place = 1, #page[2], 2 do
            if seen < most_marks then
                spread_one(page[2][place], page[2][place + 1])
                seen = seen + 1
                redis.call('HDEL', due, page[2][place])
            end
        end
    until cursor == '0' or seen >= most_marks
    write_tables()
    write_strips()
    tell_late()
end

local taken = 0
if redis.call('EXISTS', fresh) == 1 then
    taken = merge()
elseif most_marks > 0 and redis.call('EXISTS', due) == 1 then
    spread()
end
return {taken, redis.call('HLEN', fresh), broken, redis.call('HLEN', due)}
