package hold

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
)

//go:embed lua/*.lua
var files embed.FS

// A Script is a Lua script. Its first comment says what its keys and arguments are, and what it
// returns.
type Script struct {
	Name string
	Text string
	SHA  string // by which Redis knows it
}

var (
	join    = load("join")
	take    = load("take")
	begin   = load("begin")
	settle  = load("settle")
	claim   = load("claim")
	release = load("release")
	beat    = load("beat")
	reap    = load("reap")
	leave   = load("leave")
)

func load(name string) *Script {
	text, err := files.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha1.Sum(text)
	return &Script{Name: name, Text: string(text), SHA: hex.EncodeToString(sum[:])}
}
