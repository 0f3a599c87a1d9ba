#!lua flags=allow-oom
-- Settles requests and pushes their answers, both or neither, but for those that are
-- no longer held. KEYS are the list of the answers, held; ARGV their time to live,
-- then a field and an answer each: an empty field is of no request. It returns which
-- were not held, and 0 if the list expires now: it does if this made it, or if it
-- expires anyway.
local list, held = KEYS[1], KEYS[2]
local answers, fields, lost = {}, {}, {}
for i = 2, #ARGV, 2 do
  local field = ARGV[i]
  if field == '' or not fields[field] and redis.call('HEXISTS', held, field) == 1 then
    answers[#answers+1], fields[field] = ARGV[i+1], true
  else
    lost[#lost+1] = i / 2
  end
end
if #answers == 0 then return lost end
local ttl = redis.pcall('PTTL', list)
local pushed = redis.pcall('RPUSH', list, unpack(answers))
if type(pushed) == 'table' then return pushed end
for field in pairs(fields) do redis.call('HDEL', held, field, 'n' .. field) end
if pushed == #answers or type(ttl) ~= 'table' and ttl >= 0 then
  if redis.pcall('PEXPIRE', list, ARGV[1]) == 1 then lost[#lost+1] = 0 end
end
return lost
