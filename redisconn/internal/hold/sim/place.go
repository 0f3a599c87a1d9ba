package sim

import (
	"fmt"
	"strings"
)

// A place is where a request is.
type place struct {
	kind       placeKind
	key, field string
}

func (p place) String() string {
	if p.kind == nowhere {
		return "nowhere"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", p.kind, p.key, p.field))
}

type placeKind string

const (
	nowhere placeKind = ""
	queued  placeKind = "queued"
	ready   placeKind = "ready"
	suspect placeKind = "suspect"
	held    placeKind = "held"
	dead    placeKind = "dead"
)

// A move is a change of the kind of a request's place.
type move struct{ from, to placeKind }

// moves are the moves that each command may make. Nothing else moves a request.
var moves = map[string][]move{
	"push":     {{nowhere, queued}},
	"move":     {{queued, ready}},
	"take":     {{queued, held}, {ready, held}, {suspect, held}},
	"settle":   {{held, nowhere}},
	"claim":    {{held, nowhere}},
	"drop":     {{held, nowhere}},
	"release":  {{held, queued}, {held, suspect}},
	"leave":    {{held, queued}, {held, suspect}, {ready, queued}},
	"reap":     {{held, suspect}, {held, dead}, {dead, nowhere}, {held, nowhere}}, // see checkReap
	"withdraw": {{queued, nowhere}},
	"pop":      {{queued, nowhere}},
}

// allowed reports whether a command may move a request so.
func allowed(cause string, from, to placeKind) bool {
	for _, m := range moves[cause] {
		if m.from == from && m.to == to {
			return true
		}
	}
	return false
}

// findPlaces notes where each request is after writes were undone. It checks nothing.
func (h *history) findPlaces() {
	h.scan()
	for _, r := range h.requests {
		if r.place.kind != r.next.kind {
			r.waits = h.now
		}
		r.place = r.next
	}
}

// compare finds the requests that a command has moved, and checks that it may move them so.
// cause is the command's name, or "move".
func (h *history) compare(c *call, cause string) {
	if !h.redis.changed && cause != "reap" && cause != "leave" {
		return
	}
	h.redis.changed = false
	h.scan()
	for _, r := range h.requests {
		from, to := r.place, r.next
		switch {
		case r.count > 1:
			h.fail(Doubled, "%s: also %v, after %s by %s", r.name, to, cause, c.from.name)
		case from != to && !allowed(cause, from.kind, to.kind):
			kind := WrongMove
			if to.kind == nowhere {
				kind = Vanished
			} else if from.kind == nowhere {
				kind = Appeared
			}
			h.fail(kind, "%s: from %q to %q, by %s of %s", r.name, from, to, cause, c.from.name)
		}
		if from != to {
			h.moved(r, c, cause)
		}
	}
}

// moved notes that a command has moved a request.
func (h *history) moved(r *request, c *call, cause string) {
	from, to := r.place, r.next
	r.place = to
	switch {
	case from.kind == nowhere, from.kind == held, to.kind == held: // else it waits on
		r.waits = h.now
	}
	switch cause {
	case "reap":
		if from.kind == held {
			r.reaped++
		}
		if to.kind == dead && r.reaped < h.maxStarts && !h.lossy {
			h.fail(DeadEarly, "%s: taken over %d times", r.name, r.reaped)
		}
	case "withdraw":
		r.withdrawn = true
	case "settle", "claim", "drop":
		if !c.isAbout(r) {
			h.fail(Vanished, "%s: from %q, by %s of %s", r.name, from, cause, c.from.name)
		}
	}
}

// isAbout reports whether the sender means a request by one of the fields in a call.
func (c *call) isAbout(r *request) bool {
	for _, of := range c.about {
		if of == r {
			return true
		}
	}
	return false
}

// scan notes where each request is.
func (h *history) scan() {
	for _, r := range h.requests {
		r.next, r.count = place{}, 0
	}
	own := h.keys.Own
	for _, e := range h.redis.entries {
		switch {
		case e.key == h.keys.Queue:
			h.scanList(e, queued, "")
		case strings.HasPrefix(e.key, own+"ready"): // with a flaw it has a suffix
			h.scanList(e, ready, "")
		case e.key == own+"suspects":
			h.scanList(e, suspect, " ")
		case e.key == h.keys.Dead():
			h.scanList(e, dead, "\n")
		case strings.HasPrefix(e.key, own+"held:"):
			h.scanHeld(e)
		}
	}
}

// scanList notes the requests in a list. In its values a request follows a header, which ends
// with the separator; with an empty separator there is no header.
func (h *history) scanList(e *entry, kind placeKind, separator string) {
	for _, value := range e.list {
		if separator != "" {
			_, value, _ = strings.Cut(value, separator)
		}
		h.found(value, place{kind, e.key, ""})
	}
}

// found notes that the scan has found a request in a place.
func (h *history) found(body string, p place) {
	r := h.byBody[body]
	if r == nil {
		h.fail(Stray, "%s has %q, which is no request", p, body)
		return
	}
	r.next = p
	r.count++
}

// scanHeld notes the requests that a generation holds.
func (h *history) scanHeld(e *entry) {
	gen := strings.TrimPrefix(e.key, h.keys.Own+"held:")
	if _, ok := get(h.redis.hash(h.keys.Own+"workers"), gen); !ok {
		h.fail(NoRow, "%s: %v", gen, e.fields)
	}
	for _, f := range e.fields {
		switch first := f.name[0]; {
		case f.name == "last" || f.name == "next" || f.name == "moment":
		case first == 's' || first >= '0' && first <= '9':
			h.found(f.value, place{held, e.key, f.name})
		case first == 'n':
			if _, ok := get(e.fields, f.name[1:]); !ok {
				h.fail(Stray, "%s has %s of a request that it has not", e.key, f.name)
			}
		case first == 'c':
		default:
			h.fail(Stray, "%s has %s", e.key, f.name)
		}
	}
}
