#!lua flags=allow-oom
-- Holds requests under the tokens from ARGV[2] on: ARGV[3] of them at most, and no
-- more once they have ARGV[4] bytes. It takes one suspect if ARGV[5] is 1, then what
-- is ready, then what is queued. KEYS are workers, held, queue, ready, suspects.
-- Asked for the same token again, it returns the same requests. It returns the next
-- token, the moment of the take, the count of starts if the first one is a suspect, how
-- many are ready, and the body of each token's: false if that is not held any more.
local call, pcall, format = redis.call, redis.pcall, string.format -- a local is found sooner
local workers, held, queue, ready, suspects = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row = call('HGET', workers, ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local token, most, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local marks = call('HMGET', held, 'last', 'next', 'moment')
local last, following, moment = tonumber(marks[1] or 0), tonumber(marks[2] or 0), marks[3]

if token < following then
  local length = pcall('LLEN', ready)
  local taken = {'taken', tostring(following), moment, false, type(length) == 'number' and length or 0}
  for i = token, token == last and following - 1 or 0 do
    taken[#taken+1] = call('HGET', held, i .. '.' .. moment)
  end
  local first = 's' .. last .. '.' .. moment
  local count = token == last and call('HGET', held, 'n' .. first)
  if count then taken[4], taken[6] = count, call('HGET', held, first) end
  return taken
end

local time = redis.call('TIME')
moment = time[1] .. '.' .. time[2]
local taken = {'taken', '', moment, false, 0}
local fields, bytes, i = {}, 0, token
local name = '%d.' .. moment -- format is the faster way to write a number

local function hold(field, body)
  local n = #fields
  fields[n+1], fields[n+2], taken[#taken+1] = field, body, body
  bytes, i = bytes + #body, i + 1
end

local suspect = ARGV[5] == '1' and call('LPOP', suspects)
if suspect then
  local space = string.find(suspect, ' ', 1, true)
  local field, count = 's' .. format(name, i), string.sub(suspect, 1, space - 1)
  fields[1], fields[2], taken[4] = 'n' .. field, count, count
  hold(field, string.sub(suspect, space + 1))
end

local refused -- by a key that is no list: what was taken before must be held
local function pop(list) -- returns how many are left
  local length = pcall('LLEN', list)
  if type(length) == 'table' then
    refused = length
    return 0
  end
  local n = math.min(length, most - (i - token))
  -- To pop many at once is much faster, and must not bring more bytes: which is known of
  -- a list that has no more. A Redis that does not tell has them popped one by one.
  local size = n > 3 and length <= 1000 and pcall('MEMORY', 'USAGE', list, 'SAMPLES', 0)
  if type(size) == 'number' and bytes + size <= limit then
    for _, body in ipairs(call('RPOP', list, n)) do hold(format(name, i), body) end
    return length - n
  end
  while n > 0 and bytes < limit do
    hold(format(name, i), call('RPOP', list))
    n, length = n - 1, length - 1
  end
  return length
end
taken[5] = pop(ready)
pop(queue)
if refused and i == token then return refused end
if i > token then
  call('HSET', held, 'last', token, 'next', i, 'moment', moment, unpack(fields))
end
taken[2] = tostring(i)
return taken
