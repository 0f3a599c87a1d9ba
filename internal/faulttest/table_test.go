package faulttest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// prefetch is how many requests a server over Redis has taken by default at most. Over RabbitMQ
// it is half as many.
const prefetch = 128

// A table has a row for each fault, and the versions of the brokers.
type table struct {
	mu       sync.Mutex
	rows     map[string]string // by fault
	versions map[string]string // by broker
}

// figures is the table of this run.
var figures = table{rows: make(map[string]string), versions: make(map[string]string)}

// note adds a row with what became of the calls in a fault.
func (t *table) note(fault string, sum tally, note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed := 0
	var by []string
	for _, name := range slices.Sorted(maps.Keys(sum.failed)) {
		failed += sum.failed[name]
		by = append(by, fmt.Sprintf("%d %s", sum.failed[name], name))
	}
	text := fmt.Sprint(failed)
	if failed > 0 {
		text = strings.Join(by, ", ")
	}
	t.rows[fault] = fmt.Sprintf("| %s | %d | %d | %s | %d | %d | %d | %d | yes | %s |",
		fault, sum.asked, sum.answered, text, sum.unsent, sum.once, sum.again, sum.lost, note)
}

func (t *table) version(broker, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.versions[broker] = version
}

const tableHead = `# What faults do

Calls made throughout a fault, and what became of them. *Failed* calls may have
run, those *not sent* certainly did not. *Lost* are those that failed and did not
run. A run counts when it begins. The numbers *add up* if the client's Stats have each
call and notification once, by how it ended for the caller, and those of each server that
was not killed have each once, too. This file is written by

    FAULTS=all go test ./internal/faulttest -table FAULTS.md

`

const rowsHead = `
| Fault | Asked | Answered | Failed | Not sent | Run once | Run twice | Lost | Adds up | Note |
|---|---:|---:|---|---:|---:|---:|---:|---|---|
`

// write writes the table to a file. It keeps the rows and versions of the file that are not in
// the table.
func (t *table) write(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSpace(line)
		if broker, ok := strings.CutPrefix(line, "- "); ok {
			name, version, _ := strings.Cut(broker, " ")
			keep(t.versions, name, version)
		}
		if row, ok := strings.CutPrefix(line, "| "); ok {
			fault, _, _ := strings.Cut(row, " |")
			keep(t.rows, fault, line)
		}
	}
	delete(t.rows, "Fault") // the heading, which was read as a row
	var b strings.Builder
	b.WriteString(tableHead)
	for _, broker := range slices.Sorted(maps.Keys(t.versions)) {
		fmt.Fprintf(&b, "- %s %s\n", broker, t.versions[broker])
	}
	b.WriteString(rowsHead)
	for _, fault := range slices.Sorted(maps.Keys(t.rows)) {
		b.WriteString(t.rows[fault] + "\n")
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func keep(m map[string]string, key, value string) {
	if _, ok := m[key]; !ok {
		m[key] = value
	}
}
