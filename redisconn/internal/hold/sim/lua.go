package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A machine runs the scripts on a store, as Redis does, one at a time.
type machine struct {
	state   *lua.LState
	scripts map[version]*lua.LFunction // compiled

	keyTable, argTable *lua.LTable // KEYS and ARGV

	store *store   // of the running script
	keys  []string // the KEYS of the running script: it may use no other keys
	args  []string // of the running command; the next one overwrites them
}

// A version is a script without or with a flaw.
type version struct {
	script *hold.Script
	flaw   *Flaw
}

// newMachine returns a machine with the libraries of Lua that the scripts use, and with redis and
// cjson.
func newMachine() *machine {
	m := &machine{
		state:   lua.NewState(lua.Options{SkipOpenLibs: true}),
		scripts: make(map[version]*lua.LFunction),
	}
	L := m.state
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString, lua.OpenMath} {
		L.Push(L.NewFunction(open))
		L.Call(0, 0)
	}
	m.keyTable, m.argTable = L.NewTable(), L.NewTable()
	L.SetGlobal("KEYS", m.keyTable)
	L.SetGlobal("ARGV", m.argTable)
	redis := L.NewTable()
	redis.RawSetString("call", L.NewFunction(func(L *lua.LState) int { return m.call(L, true) }))
	redis.RawSetString("pcall", L.NewFunction(func(L *lua.LState) int { return m.call(L, false) }))
	L.SetGlobal("redis", redis)
	cjson := L.NewTable()
	cjson.RawSetString("encode", L.NewFunction(encode))
	L.SetGlobal("cjson", cjson)
	return m
}

// run runs a script on a store, with a flaw if there is one, and returns its reply.
func (m *machine) run(s *store, flaw *Flaw, script *hold.Script, keys []string, args []any) any {
	f := m.scripts[version{script, flaw}]
	if f == nil {
		f = m.compile(script, flaw)
	}
	m.store, m.keys = s, keys
	L := m.state
	fill(m.keyTable, len(keys), func(i int) string { return keys[i] })
	fill(m.argTable, len(args), func(i int) string { return argument(args[i]) })
	if err := L.CallByParam(lua.P{Fn: f, NRet: 1, Protect: true}); err != nil {
		return scriptError{err}
	}
	result := L.Get(-1)
	L.Pop(1)
	return fromLua(result)
}

// fill puts n strings into a table, and removes all other elements.
func fill(table *lua.LTable, n int, text func(int) string) {
	for i := table.Len(); i > n; i-- {
		table.RawSetInt(i, lua.LNil)
	}
	for i := range n {
		table.RawSetInt(i+1, lua.LString(text(i)))
	}
}

func (m *machine) compile(script *hold.Script, flaw *Flaw) *lua.LFunction {
	code := script.Text
	if flaw != nil {
		code = flaw.text(script)
	}
	if strings.HasPrefix(code, "#!") { // this line is for Redis, and no Lua
		_, code, _ = strings.Cut(code, "\n")
	}
	// A function of no arguments is cheaper to call than a chunk, which takes any.
	if err := m.state.DoString("return function()\n" + code + "\nend"); err != nil {
		panic(err) // a script is at fault
	}
	f := m.state.CheckFunction(-1)
	m.state.Pop(1)
	m.scripts[version{script, flaw}] = f
	return f
}

// A scriptError is the error of a script that did not run to its end.
type scriptError struct{ error }

// argument returns an argument as go-redis sends it.
func argument(arg any) string {
	switch arg := arg.(type) {
	case string:
		return arg
	case []byte:
		return string(arg)
	case int:
		return strconv.Itoa(arg)
	case int64:
		return strconv.FormatInt(arg, 10)
	}
	panic(fmt.Sprintf("an argument of type %T", arg))
}

// call is redis.call or, if it raises no errors, redis.pcall.
func (m *machine) call(L *lua.LState, raises bool) int {
	args := m.args[:0]
	for i := 1; i <= L.GetTop(); i++ {
		switch value := L.Get(i).(type) {
		case lua.LString:
			args = append(args, string(value))
		case lua.LNumber:
			args = append(args, formatNumber(value))
		default:
			L.RaiseError("Lua redis lib command arguments must be strings or integers")
		}
	}
	m.args = args
	if key := keyOf(args); key != "" && !slices.Contains(m.keys, key) {
		L.RaiseError("%s is not among the keys of the script", key)
	}
	reply := m.store.do(args)
	err, failed := reply.(error)
	switch {
	case failed && raises:
		L.RaiseError("%s", err.Error())
	case failed:
		table := L.NewTable()
		table.RawSetString("err", lua.LString(err.Error()))
		L.Push(table)
	default:
		L.Push(toLua(L, reply))
	}
	return 1
}

// keyOf returns the key of a command, "" if it has none.
func keyOf(args []string) string {
	switch {
	case len(args) < 2:
		return ""
	case args[0] == "MEMORY":
		return args[2]
	}
	return args[1]
}

func formatNumber(n lua.LNumber) string {
	if n == lua.LNumber(int64(n)) {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatFloat(float64(n), 'g', 17, 64)
}

// toLua converts a reply as Redis does for a script. An error is handled before.
func toLua(L *lua.LState, reply any) lua.LValue {
	switch reply := reply.(type) {
	case string:
		return lua.LString(reply)
	case int64:
		return lua.LNumber(reply)
	case []any:
		table := L.CreateTable(len(reply), 0)
		for i, value := range reply {
			table.RawSetInt(i+1, toLua(L, value))
		}
		return table
	}
	return lua.LFalse
}

// fromLua converts the result of a script as Redis does for its reply.
func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LString:
		return string(value)
	case lua.LNumber:
		return int64(value)
	case lua.LBool:
		if value {
			return int64(1)
		}
	case *lua.LTable:
		if text, ok := value.RawGetString("err").(lua.LString); ok {
			return errors.New(string(text))
		}
		var all []any
		for i := 1; ; i++ { // to the first nil
			element := value.RawGetInt(i)
			if element == lua.LNil {
				return all
			}
			all = append(all, fromLua(element))
		}
	}
	return nil
}

// encode is cjson.encode of a table of strings and numbers.
func encode(L *lua.LState) int {
	var members []string
	L.CheckTable(1).ForEach(func(key, value lua.LValue) {
		text := formatTable(value)
		members = append(members, strconv.Quote(key.String())+":"+text)
	})
	slices.Sort(members)
	L.Push(lua.LString("{" + strings.Join(members, ",") + "}"))
	return 1
}

func formatTable(value lua.LValue) string {
	if n, ok := value.(lua.LNumber); ok {
		return formatNumber(n)
	}
	return strconv.Quote(value.String())
}
