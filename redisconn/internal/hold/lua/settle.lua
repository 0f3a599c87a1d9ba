#!lua flags=allow-oom
-- Settles requests and pushes their answers: both or, if a request is not held any more,
-- neither. Returns the numbers, from 1 on, of the requests that were not held, and 0 if
-- the list expires now: if this push has made the list, or if it expires anyway.
-- KEYS: the list of the answers, held. ARGV: the list's time to live in milliseconds, how
-- many answers there are, 1 if there are suspects among the requests, the answers, and
-- the field of each answer's request, which is empty if it answers none that is held.
local call, pcall = redis.call, redis.pcall -- Lua finds a local sooner than a global
local list, held, number, suspects = KEYS[1], KEYS[2], tonumber(ARGV[2]), ARGV[3] == '1'
local length = pcall('RPUSH', list, unpack(ARGV, 4, number + 3))
if type(length) == 'table' then return length end
local lost = {}
for i = 1, number do
  local field = ARGV[number+3+i]
  if suspects and string.sub(field, 1, 1) == 's' then call('HDEL', held, 'n' .. field) end
  if field ~= '' and call('HDEL', held, field) == 0 then lost[#lost+1] = i end
end
if #lost > 0 then -- nobody has seen yet what was pushed, so push again without these
  call('RPOP', list, number)
  local answers, next = {}, 1
  for i = 1, number do
    if i == lost[next] then next = next + 1
    else answers[#answers+1] = ARGV[i+3] end
  end
  if #answers == 0 then return lost end
  call('RPUSH', list, unpack(answers))
end
local expires = length == number
if not expires then
  local ttl = pcall('PTTL', list)
  expires = type(ttl) == 'number' and ttl >= 0
end
if expires and pcall('PEXPIRE', list, ARGV[1]) == 1 then lost[#lost+1] = 0 end
return lost
