// Package fuzztest adds seeds to a fuzz target. They are what is left of a large corpus: each
// reaches code that the others don't.
package fuzztest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// AddSeeds adds the seeds in testdata/seeds/<target>.txt. A blank line separates two seeds. A
// seed has a line for each argument of the target, as in the files that go test -fuzz writes,
// but without their first line:
//
//	[]byte("{}")
//	int(7)
func AddSeeds(f *testing.F) {
	f.Helper()
	name := filepath.Join("testdata", "seeds", f.Name()+".txt")
	text, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	for i, seed := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		var values []any
		for line := range strings.Lines(seed) {
			value, err := parse(strings.TrimSpace(line))
			if err != nil {
				f.Fatalf("%s: seed %d: %v", name, i+1, err)
			}
			values = append(values, value)
		}
		f.Add(values...)
	}
}

// parse parses one value: []byte("…"), string("…"), int(7) or int64(7).
func parse(line string) (any, error) {
	kind, rest, _ := strings.Cut(line, "(")
	literal, ok := strings.CutSuffix(rest, ")")
	if !ok {
		return nil, fmt.Errorf("%q is no value", line)
	}
	switch kind {
	case "[]byte":
		text, err := strconv.Unquote(literal)
		return []byte(text), err
	case "string":
		return strconv.Unquote(literal)
	case "int":
		return strconv.Atoi(literal)
	case "int64":
		return strconv.ParseInt(literal, 10, 64)
	}
	return nil, fmt.Errorf("%q is of no known type", line)
}
