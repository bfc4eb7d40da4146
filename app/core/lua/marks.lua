-- Several changes of the marks: of two on one subject the graver stays, then the later end; those that are over count
-- for nothing. Every worker is told what stands now.
-- KEYS: marks hash, audit stream, head of the audit's chain
-- ARGV: channel, now; head, last id of the audit, number, previous hash, hash, as in change.lua (number "": what is noted
--   is no link); then groups of four: operation, field, value, audit entry ("" none). With a link there is one group.
--   put: value is the JSON of the mark · clear: value is the latest at_s that is cleared · sweep: drops what is over
-- Gives {"ok", what it tells, id of the link if one was noted}, or {"moved"} and then writes nothing. It tells lines
-- "+<JSON>" for a mark that stands, "-<field>" for none.
local GRAVITY = {cool = 0, check = 1, spent = 2, disabled = 3}
local channel, now = ARGV[1], tonumber(ARGV[2])
local head, last, number, previous, hash = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local news, link = {}, nil

if number ~= '' then
    local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if (redis.call('GET', KEYS[3]) or '') ~= head or (newest and newest[1] or '') ~= last then
        return {'moved'}
    end
end

local function read(text)
    local readable, mark = pcall(cjson.decode, text)
    if readable and type(mark) == 'table' and GRAVITY[mark.kind] and tonumber(mark.until_s) then
        return mark
    end
end

local function standing(field)
    local text = redis.call('HGET', KEYS[1], field)
    local mark = text and read(text)
    if mark and mark.until_s > now then
        return mark, text
    end
end

local function outweighs(old, new)
    if old.kind ~= new.kind then
        return GRAVITY[old.kind] > GRAVITY[new.kind]
    end
    return old.until_s >= new.until_s
end

local function note(entry)
    if entry == '' then
        return
    end
    if number == '' then
        redis.call('XADD', KEYS[2], '*', 'entry', entry)
    else
        link = redis.call('XADD', KEYS[2], '*', 'entry', entry, 'n', number, 'prev', previous, 'hash', hash)
        redis.call('SET', KEYS[3], number .. ' ' .. hash .. ' ' .. link)
    end
end

for place = 8, #ARGV, 4 do
    local operation, field, value, entry = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
    local old, text = standing(field)
    if operation == 'put' then
        local new = read(value)
        if old and outweighs(old, new) then
            news[#news + 1] = '+' .. text
        elseif new.until_s > now then
            redis.call('HSET', KEYS[1], field, value)
            note(entry)
            news[#news + 1] = '+' .. value
        end
    elseif operation == 'clear' and old and tonumber(old.at_s) > tonumber(value) then
        news[#news + 1] = '+' .. text
    elseif operation == 'clear' then
        redis.call('HDEL', KEYS[1], field)
        if old and old.kind == 'disabled' then
            note(entry)
        end
        news[#news + 1] = '-' .. field
    elseif not old then
        redis.call('HDEL', KEYS[1], field)
    end
end

local told = table.concat(news, '\n')
if told ~= '' then
    redis.call('PUBLISH', channel, told)
end
return {'ok', told, link}
