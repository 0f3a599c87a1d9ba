package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

// A recorded step of a session is a command line, and what it shows.
type recorded struct{ line, shows string }

// recording returns the steps of the README's session.
func recording(t *testing.T) (steps []recorded) {
	t.Helper()
	_, rest, ok := strings.Cut(readme(t), "```console\n$ ")
	require.True(t, ok)
	block, _, _ := strings.Cut(rest, "```")
	for step := range strings.SplitSeq(block, "\n$ ") {
		line, shows, _ := strings.Cut(step, "\n")
		steps = append(steps, recorded{line, strings.TrimSuffix(shows, "\n")})
	}
	return steps
}

// The IDs of the list are of what the session's Redis holds, and so others each time.
var listID = regexp.MustCompile(`[0-9a-f]{16}`)

// learn maps the IDs in what was recorded to those in what is shown.
func learn(ids map[string]string, recorded, shown string) {
	actual := listID.FindAllString(shown, -1)
	for i, id := range listID.FindAllString(recorded, -1) {
		if i < len(actual) {
			ids[id] = actual[i]
		}
	}
}

// The README's session shows what it says.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	s, rdb := newRedis(t)
	s.serve(t)
	s.requireServed(t)
	now := time.Now()
	for _, dead := range []struct {
		age     time.Duration
		request string
	}{
		{12 * time.Minute, `{"jsonrpc":"2.0","id":7,"method":"report","params":[1900]}`},
		{7 * time.Minute, `{"jsonrpc":"2.0","id":"9f86d081884c7d65","method":"add","params":[2,3.1]}`},
		{3 * time.Minute, `{"jsonrpc":"2.0","method":"report","params":{"year":1900}}`},
	} {
		header := fmt.Sprintf(`{"time":%d,"attempts":5,"reason":"it was started 5 times"}`, now.Add(-dead.age-time.Second).UnixMilli())
		require.NoError(t, rdb.LPush(t.Context(), "{calc}:dead", header+"\n"+dead.request).Err())
	}

	folder := t.TempDir()
	shim := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", beProgram, os.Args[0])
	require.NoError(t, os.WriteFile(filepath.Join(folder, "jsonrpc2"), []byte(shim), 0o700))
	ids := make(map[string]string)
	known := func(id string) string { return ids[id] }
	for _, step := range recording(t) {
		line := step.line
		if strings.Contains(line, "requeue") {
			line = listID.ReplaceAllStringFunc(line, known)
		}
		run := func() string {
			bash := exec.CommandContext(t.Context(), "bash", "-c", "exec 2>&1\n"+line)
			bash.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "BROKER_URL="+s.url, noSleep)
			out, err := bash.Output()
			require.NoError(t, err, "%s: %s", line, out)
			return strings.TrimSuffix(string(out), "\n")
		}
		shown := run()
		learn(ids, step.shows, shown)
		want := listID.ReplaceAllStringFunc(step.shows, known)
		if strings.HasPrefix(line, "jsonrpc2 queue") { // what was requeued may run just now
			servicetest.EventuallyEqual(t, want, run)
		} else {
			require.Equal(t, want, shown, line)
		}
	}
}

// The README names all commands, and the members that each one's JSON has.
func TestReadmeIsComplete(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, c := range newApp(nil, nil, nil, environment()).root().Commands() {
		if c.Name() != "help" {
			require.Contains(t, text, "    jsonrpc2 "+c.Name())
		}
	}
	s, rdb := newRedis(t)
	s.serve(t)
	s.requireServed(t)
	require.NoError(t, rdb.LPush(t.Context(), "{calc}:dead", `{"time":1,"attempts":1,"reason":"r"}`+"\n"+deadAdd).Err())
	for _, command := range []string{"bench -n 1 add [1,2]", "queue", "servers", "dead list", "dead requeue a"} {
		shown := parsed[map[string]any](t, must(t, s.at(append(strings.Fields(command), "-o", "json")...)...))
		require.NotEmpty(t, shown, command)
		name, _, _ := strings.Cut(command, " ")
		row := text[strings.Index(text, "| `"+name):]
		for member := range shown[0] {
			require.Contains(t, row, `"`+member+`":`, command)
		}
	}
}
