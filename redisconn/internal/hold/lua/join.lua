#!lua flags=allow-oom
-- Begins a generation: KEYS are workers; ARGV the layout, the worker's name, its lease.
-- It returns the generation's name, or the other layout that it has found.
local layout = redis.call('HGET', KEYS[1], 'layout')
if layout and layout ~= ARGV[1] then return {'layout', layout} end
local time = redis.call('TIME')
local generation = ARGV[2] .. '.' .. time[1] .. '.' .. time[2]
redis.call('HSET', KEYS[1], 'layout', ARGV[1], generation, '0 ' .. ARGV[3])
return {'joined', generation}
