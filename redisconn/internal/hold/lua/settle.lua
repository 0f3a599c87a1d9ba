#!lua flags=allow-oom
-- Settles requests and pushes their answers, both or neither, but for those that are
-- no longer held. KEYS are the list of the answers, held; ARGV the list's time to live,
-- how many answers there are, the answers, and the field of each: an empty one is of no
-- request. It returns which were not held, and 0 if the list expires now: it does if
-- this made it, or if it expires anyway.
local list, held, number = KEYS[1], KEYS[2], tonumber(ARGV[2])
local ttl = redis.pcall('PTTL', list)
local length = redis.pcall('RPUSH', list, unpack(ARGV, 3, number + 2))
if type(length) == 'table' then return length end
local lost = {}
for i = 1, number do
  local field = ARGV[number+2+i]
  if string.byte(field) == 115 then redis.call('HDEL', held, 'n' .. field) end -- an s: a suspect
  if field ~= '' and redis.call('HDEL', held, field) == 0 then lost[#lost+1] = i end
end
if #lost > 0 then -- nobody has seen what was pushed
  redis.call('RPOP', list, number)
  local answers, next = {}, 1
  for i = 1, number do
    if i == lost[next] then next = next + 1
    else answers[#answers+1] = ARGV[i+2] end
  end
  if #answers == 0 then return lost end
  redis.call('RPUSH', list, unpack(answers))
end
if length == number or type(ttl) ~= 'table' and ttl >= 0 then
  if redis.pcall('PEXPIRE', list, ARGV[1]) == 1 then lost[#lost+1] = 0 end
end
return lost
