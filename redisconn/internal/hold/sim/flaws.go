package sim

import "github.com/micromessaging/jsonrpc2/redisconn/internal/hold"

// namesWithoutMoment makes a token alone the name of what is held.
var namesWithoutMoment = patch{"take", `time[1] .. '.' .. time[2]`, `'0'`}

// Flaws are all of them.
var Flaws = []*Flaw{
	{
		Name:   "a gap between two beats is taken for the silence of others",
		omits:  hold.GapRule,
		Breaks: []Kind{ReapedHealthy},
		Theme:  Theme{Stall, Restart},
		Within: 3000,
	},
	{
		Name:   "a server starts requests though its lease is over",
		omits:  hold.LeaseRule,
		Breaks: []Kind{NotHeld},
		Within: 2000,
	},
	{
		Name:    "a token alone names what is held",
		patches: []patch{namesWithoutMoment},
		Breaks:  []Kind{WrongRequest},
		Theme:   Theme{Late, Late, Failover, Failover},
		Within:  5000,
	},
	{
		Name:       "beats wait for takes and for mending",
		sharedPath: true,
		Breaks:     []Kind{ReapedHealthy},
		Within:     400,
	},
	{
		Name: "starts are counted in the body's head",
		patches: []patch{{
			"reap",
			`count = tonumber(redis.call('HGET', held, 'n' .. field)) end`,
			`count = string.sub(body, 1, 1) == '{' and tonumber(redis.call('HGET', held, 'n' .. field)) or 1 end`,
		}},
		Breaks: []Kind{StartedTooOften},
		Within: 1000,
	},
	{
		Name:     "a move goes into a list of the worker's own",
		ownReady: true,
		Breaks:   []Kind{Stuck},
		Within:   400,
	},
	{
		Name: "a repeated take is judged by its first token",
		patches: []patch{namesWithoutMoment, {
			"take",
			`if token < tonumber(marks[1] or 0) then`,
			`if redis.call('HEXISTS', held, token .. '.0') == 1 or redis.call('HEXISTS', held, 's' .. token .. '.0') == 1 then`,
		}},
		Breaks: []Kind{Vanished},
		Theme:  Theme{Late, LostAfter},
		Within: 3000,
	},
	{
		Name:         "what was moved is found only by the next move",
		forgetsReady: true,
		Breaks:       []Kind{Stuck},
		Within:       400,
	},
	{
		Name:    "silence is dated by the broker's clock",
		patches: datedSilence,
		Breaks:  []Kind{ReapedHealthy, ReapedEarly},
		Within:  100,
	},
}

// datedSilence makes each row tell when it was changed, by the clock of Redis. A beat returns
// "gone" for a row that is older than its lease, and a reap looks only at that age.
var datedSilence = []patch{
	{"join", `'0 ' .. ARGV[3]`, `(time[1] * 1000 + math.floor(time[2] / 1000)) .. ' ' .. ARGV[3]`},
	{"beat", `local space`, `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local space`},
	{"beat", `(string.sub(row, 1, space - 1) + 1)`, `now`},
	{"beat", `return {'beat', redis.call('HGETALL', KEYS[1])`, `
local rows = redis.call('HGETALL', KEYS[1])
for i = 2, #rows, 2 do
  local at, lease = string.match(rows[i], '^(%d+) (%d+)$')
  if at and now - at >= tonumber(lease) then rows[i] = 'gone' end
end
return {'beat', rows`},
	{"reap", `if row ~= ARGV[2] then`, `
  local time = redis.call('TIME')
  local at, lease = string.match(row, '^(%d+) (%d+)$')
  if time[1] * 1000 + math.floor(time[2] / 1000) - at < tonumber(lease) then`},
}
