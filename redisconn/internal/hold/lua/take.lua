#!lua flags=allow-oom
-- Takes requests and holds them under tokens: first one suspect if wanted, then what is
-- ready, then what is queued. Asked for the same token again, it returns the same
-- requests. Returns "taken", the next token, the moment of the take, the count of starts
-- if the first request is a suspect, else false, how many are ready, and the body of each
-- token, false if that is not held any more; or "gone".
-- KEYS: workers, held, queue, ready, suspects. ARGV: the generation, the first token, how
-- many requests to take at most, how many bytes at most, not counting the last request,
-- 1 if a suspect is wanted.
-- A lone call waits for this script: so it makes no closure, and formats its numbers by
-- string.format.
local call, pcall, format = redis.call, redis.pcall, string.format
local held, ready, token = KEYS[2], KEYS[4], tonumber(ARGV[2])
local row = call('HGET', KEYS[1], ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local marks = call('HMGET', held, 'next', 'last', 'moment')

if token < tonumber(marks[1] or 0) then
  local following, last, moment = tonumber(marks[1]), tonumber(marks[2]), marks[3]
  local length = pcall('LLEN', ready)
  local taken = {'taken', marks[1], moment, false, type(length) == 'number' and length or 0}
  for i = token, token == last and following - 1 or 0 do
    taken[#taken+1] = call('HGET', held, i .. '.' .. moment)
  end
  local first = 's' .. last .. '.' .. moment
  local count = token == last and call('HGET', held, 'n' .. first)
  if count then taken[4], taken[6] = count, call('HGET', held, first) end
  return taken
end

local time = redis.call('TIME')
local moment = time[1] .. '.' .. time[2]
local taken = {'taken', ARGV[2], moment, false, 0}
local most, limit, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), 0

local suspect = ARGV[5] == '1' and call('LPOP', KEYS[5])
if suspect then
  local space = string.find(suspect, ' ', 1, true)
  taken[4], taken[6] = string.sub(suspect, 1, space - 1), string.sub(suspect, space + 1)
  bytes = #taken[6]
end

-- The error of a key that is no list, or of a missing right. It does not end the script:
-- what was taken before must be held.
local refused
for k = 4, 3, -1 do -- what is ready, what is queued
  local list, n = KEYS[k], most - (#taken - 5)
  local length = pcall('LLEN', list)
  if type(length) == 'table' then refused, length = length, 0 end
  if length < n then n = length end
  -- One RPOP of many is much faster, but must not bring too many bytes. It can't if the
  -- whole list has few enough, by MEMORY USAGE. If that is not known, pop one by one.
  local size = n > 3 and length <= 1000 and pcall('MEMORY', 'USAGE', list, 'SAMPLES', 0)
  if type(size) == 'number' and bytes + size <= limit then
    local bodies = pcall('RPOP', list, n)
    refused = refused or bodies.err and bodies
    for _, body in ipairs(bodies) do
      taken[#taken+1], bytes, length = body, bytes + #body, length - 1
    end
  else
    while n > 0 and bytes < limit do
      local body = pcall('RPOP', list)
      if type(body) == 'table' then
        refused = body
        break
      end
      taken[#taken+1], bytes, length, n = body, bytes + #body, length - 1, n - 1
    end
  end
  if list == ready then taken[5] = length end
end

local number = #taken - 5
if number == 0 then return refused or taken end
taken[2] = format('%d', token + number)
local fields, name = {'last', ARGV[2], 'next', taken[2], 'moment', moment}, '%d.' .. moment
for i = 1, number do
  local n = #fields
  fields[n+1], fields[n+2] = format(name, token + i - 1), taken[i+5]
end
if suspect then
  fields[7] = 's' .. fields[7]
  fields[#fields+1], fields[#fields+2] = 'n' .. fields[7], taken[4]
end
call('HSET', held, unpack(fields))
return taken
