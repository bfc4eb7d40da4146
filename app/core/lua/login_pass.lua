-- A try was none of the failures that it was counted as.
-- KEYS: the subject that is forgiven everything, and those that get back this one try
-- ARGV: life of a string
redis.call('DEL', KEYS[1])
for place = 2, #KEYS do
    local failures, last = string.match(redis.call('GET', KEYS[place]) or '0 0', '^(%d+) (%d+)$')
    if tonumber(failures) > 1 then
        redis.call('SET', KEYS[place], string.format('%d %d', tonumber(failures) - 1, tonumber(last)), 'EX', ARGV[1])
    else
        redis.call('DEL', KEYS[place])
    end
end
return 1
