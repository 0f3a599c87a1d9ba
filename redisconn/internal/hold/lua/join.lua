#!lua flags=allow-oom
-- Begins a generation. Returns "joined" and the generation's name, or "layout" and the
-- other layout that it has found. In the first layout, 0, workers was a sorted set.
-- KEYS: workers. ARGV: the layout, the worker's name, its lease in milliseconds.
local layout = redis.pcall('HGET', KEYS[1], 'layout')
if type(layout) == 'table' then
  if string.find(layout.err, 'WRONGTYPE', 1, true) then return {'layout', '0'} end
  return layout
end
if layout and layout ~= ARGV[1] then return {'layout', layout} end
local time = redis.call('TIME')
local generation = ARGV[2] .. '.' .. time[1] .. '.' .. time[2]
redis.call('HSET', KEYS[1], 'layout', ARGV[1], generation, '0 ' .. ARGV[3])
return {'joined', generation}
