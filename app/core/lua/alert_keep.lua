-- Keeps an alert and queues its messages, all or nothing, unless the same one was raised before.
-- KEYS: mark of the alert, list of those that are kept, queue of messages
-- ARGV: seconds for which the mark is remembered, the alert, how many are kept, then field and message of the queue
-- Gives 1 where it is new, 0 where not.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
    return 0
end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[3]) - 1)
for place = 4, #ARGV, 2 do
    redis.call('HSET', KEYS[3], ARGV[place], ARGV[place + 1])
end
return 1
