package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A Flaw is an earlier behaviour that was wrong. A history puts it back, to show that the
// invariants find it. A nil Flaw is none: keys, rewrite, onePath and omit then change nothing.
type Flaw struct {
	Name   string
	Breaks []Kind // the invariants that it may break
	Theme  Theme  // the faults with which it is found soon
	Within int    // one of so many histories finds it

	patches []patch   // changes of scripts
	omits   hold.Rule // a rule that workers leave out; "": none

	ownReady     bool // a move goes into a list of the worker's own
	forgetsReady bool // takes look only for what their own move has moved
	sharedPath   bool // beats wait for takes and for mending
}

// breaks reports whether the flaw may break an invariant.
func (f *Flaw) breaks(k Kind) bool { return slices.Contains(f.Breaks, k) }

// A patch replaces a part of a script's text, which must be there.
type patch struct{ script, old, new string }

// text returns a script's text with the flaw.
func (f *Flaw) text(s *hold.Script) string {
	text := s.Text
	for _, p := range f.patches {
		if p.script != s.Name {
			continue
		}
		if !strings.Contains(text, p.old) {
			panic(fmt.Sprintf("%s: %s.lua has no %q", f.Name, s.Name, p.old))
		}
		text = strings.Replace(text, p.old, p.new, 1)
	}
	return text
}

// keys returns the keys of a call with the flaw.
func (f *Flaw) keys(c *call) []string {
	if f == nil || !f.forgetsReady || c.moves || c.name != "take" && c.name != "beat" {
		return c.keys
	}
	keys := append([]string(nil), c.keys...)
	keys[3] = "nothing"
	return keys
}

// rewrite changes a command of a worker: with ownReady its list of what is ready is its own.
func (f *Flaw) rewrite(c *hold.Command) {
	if f == nil || !f.ownReady {
		return
	}
	switch c.Script.Name {
	case "take", "beat", "leave":
		c.Keys = append([]string(nil), c.Keys...)
		c.Keys[3] += ":" + argument(c.Args[0])
		if c.Move > 0 {
			c.Into = c.Keys[3]
		}
	}
}

func (f *Flaw) onePath() bool { return f != nil && f.sharedPath }

func (f *Flaw) omit(w *hold.Worker) {
	if f != nil && f.omits != "" {
		w.Omit(f.omits)
	}
}
