package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2"
)

// An entry is a dead request, and what it is found by.
type entry struct {
	dead    jsonrpc2.DeadRequest
	id      string
	ids     []string // that the client gave the request, or the items of the batch
	methods []string
}

func entriesOf(dead []jsonrpc2.DeadRequest) []entry {
	entries := make([]entry, len(dead))
	for i, d := range dead {
		entries[i] = entry{dead: d, id: d.ID()}
		entries[i].ids, entries[i].methods = namesIn(d.Request)
	}
	return entries
}

// namesIn returns the ids and the methods in a message. A notification has no id.
func namesIn(message []byte) (ids, methods []string) {
	var items []json.RawMessage
	if json.Unmarshal(message, &items) != nil {
		items = []json.RawMessage{message}
	}
	for _, item := range items {
		var members map[string]json.RawMessage // a struct would take Method, too
		_ = json.Unmarshal(item, &members)
		if id := textOf(members["id"]); id != "" && id != "null" {
			ids = append(ids, id)
		}
		if method := textOf(members["method"]); method != "" {
			methods = append(methods, method)
		}
	}
	return ids, methods
}

// textOf returns a string without its quotes, and other values as they are.
func textOf(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil && text != "" {
		return text
	}
	return string(value)
}

// A selection says which dead requests a command is for.
type selection struct {
	method    string
	olderThan time.Duration
	all       bool
}

func (s *selection) defineFilters(c *cobra.Command) {
	c.Flags().StringVar(&s.method, "method", "", "those that call this `method`, as it is sent")
	c.Flags().DurationVar(&s.olderThan, "older-than", 0, "those that were given up longer ago")
	completes(c, "method", cobra.ShellCompDirectiveNoFileComp)
	completes(c, "older-than", cobra.ShellCompDirectiveNoFileComp)
}

func (s *selection) filters() bool { return s.method != "" || s.olderThan != 0 }

func (s *selection) checkFilters(limit int) error {
	switch {
	case s.olderThan < 0:
		return misused("--older-than can't be %v: write 24h, for example", s.olderThan)
	case limit < 0:
		return misused("-n can't be %d: 0 lists all", limit)
	}
	return nil
}

// check returns an error unless the flags and operands select in one way.
func (s *selection) check(ids []string) error {
	ways := 0
	for _, way := range []bool{len(ids) > 0, s.all, s.filters()} {
		if way {
			ways++
		}
	}
	switch {
	case ways == 0:
		return misused("which: write IDs that jsonrpc2 dead list shows, --method, --older-than or --all")
	case ways > 1:
		return misused("write either IDs, or --all, or --method and --older-than")
	}
	return s.checkFilters(0)
}

// choose returns what is selected.
func (s *selection) choose(entries []entry, ids []string, now time.Time) ([]entry, error) {
	if len(ids) > 0 {
		return byID(entries, ids)
	}
	return s.filter(entries, now), nil
}

// filter returns the entries that pass the filters. What was given up at an unknown time is not
// older than anything.
func (s *selection) filter(entries []entry, now time.Time) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool {
		return s.method != "" && !slices.Contains(e.methods, s.method) ||
			s.olderThan != 0 && (e.dead.Time.IsZero() || now.Sub(e.dead.Time) <= s.olderThan)
	})
}

// byID returns the entries that have one of the ids, and an error if one has no entry.
func byID(entries []entry, ids []string) (chosen []entry, err error) {
	unused := make(map[string]bool)
	for _, id := range ids {
		unused[id] = true
	}
	for _, e := range entries {
		found := false
		for _, id := range append([]string{e.id}, e.ids...) {
			if slices.Contains(ids, id) {
				found = true
				delete(unused, id)
			}
		}
		if found {
			chosen = append(chosen, e)
		}
	}
	for _, id := range ids {
		if unused[id] {
			return nil, fmt.Errorf("there is no dead request %s", clipped(id, 64))
		}
	}
	return chosen, nil
}

// describeEntries says for a question what is selected.
func describeEntries(entries []entry) string {
	const most = 3
	if len(entries) > most {
		return fmt.Sprintf("%d dead requests", len(entries))
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.id+" ("+e.methodText()+")")
	}
	return strings.Join(names, ", ")
}

func (e *entry) methodText() string { return firstOf(e.methods) }

// firstOf returns the first name, and how many more there are.
func firstOf(names []string) string {
	switch len(names) {
	case 0:
		return "-"
	case 1:
		return clipped(names[0], 48)
	}
	return fmt.Sprintf("%s +%d", clipped(names[0], 48), len(names)-1)
}

// An entryJSON is an entry as programs see it.
type entryJSON struct {
	ID         string          `json:"id"`
	RequestIDs []string        `json:"request_ids"`
	Methods    []string        `json:"methods"`
	Time       time.Time       `json:"time,omitzero"`
	Attempts   int             `json:"attempts,omitzero"`
	Reason     string          `json:"reason"`
	Bytes      int             `json:"bytes"`
	Request    json.RawMessage `json:"request"` // a string if it is no JSON
}

func (e *entry) json() entryJSON {
	request := json.RawMessage(e.dead.Request)
	if !json.Valid(request) {
		request, _ = json.Marshal(string(e.dead.Request)) // a string always encodes
	}
	return entryJSON{
		ID: e.id, RequestIDs: append([]string{}, e.ids...), Methods: append([]string{}, e.methods...),
		Time: e.dead.Time, Attempts: e.dead.Attempts, Reason: e.dead.Reason,
		Bytes: len(e.dead.Request), Request: request,
	}
}

func (a *app) printEntries(entries []entry, now time.Time) error {
	t := &table{columns: []column{
		{"TIME", true}, {"ATTEMPTS", true}, {"METHOD", false}, {"ID", false}, {"REQUEST", false}, {"BYTES", true}, {"REASON", false},
	}}
	for i := range entries {
		e := &entries[i]
		if a.output.isJSON() {
			if err := a.printJSON(e.json()); err != nil {
				return err
			}
			continue
		}
		attempts := "-"
		if e.dead.Attempts > 0 {
			attempts = fmt.Sprint(e.dead.Attempts)
		}
		t.add(ago(e.dead.Time, now), attempts, e.methodText(), e.id, firstOf(e.ids), fmt.Sprint(len(e.dead.Request)), clipped(e.dead.Reason, 200))
	}
	if a.output.isJSON() {
		return nil
	}
	return a.print(t)
}
