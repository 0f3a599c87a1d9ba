package docstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/markdown"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// docPage returns a page of the folder docs.
func docPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	require.NoError(t, err)
	return string(text)
}

// fencedBlocks returns the code blocks of a language. There must be some.
func fencedBlocks(t *testing.T, page, language string) []string {
	t.Helper()
	blocks := markdown.Blocks(docPage(t, page), language)
	require.NotEmpty(t, blocks, "%s has no blocks of %s", page, language)
	return blocks
}

// A step is a line of a session with a broker: what one end does.
type step struct {
	client  bool     // else the server
	command []string // all but the last argument
	body    string   // the last argument
	returns string   // of the command; "" where the page does not say
}

func (s *step) name() string { return s.command[0] }

// readSteps reads a session. The arguments of a command are between blanks; from the first
// that begins with { or [ on, the rest of the line is the last one.
func readSteps(t *testing.T, session string) (steps []step) {
	t.Helper()
	for line := range strings.Lines(session) {
		line = strings.TrimSuffix(line, "\n")
		who, rest, _ := strings.Cut(line, " ")
		if who == "<--" {
			require.NotEmpty(t, steps, line)
			steps[len(steps)-1].returns += rest
			continue
		}
		require.Contains(t, []string{"client>", "server>"}, who, line)
		s := step{client: who == "client>"}
		if at := strings.IndexAny(rest, "{["); at > 0 {
			s.command, s.body = strings.Fields(rest[:at]), rest[at:]
		} else {
			s.command = strings.Fields(rest)
		}
		steps = append(steps, s)
	}
	return steps
}

// hasServer reports whether a session says what a server does, and so can be played
// against a client.
func hasServer(steps []step) bool {
	for _, s := range steps {
		if !s.client {
			return true
		}
	}
	return false
}

// Values are what the placeholders of a session stand for, by their names.
type values map[string]string

var placeholder = regexp.MustCompile(`<([a-z]+)>`)

// newValues returns values for all placeholders in a session, as a client would choose them.
func newValues(session string) values {
	v := make(values)
	for _, m := range placeholder.FindAllStringSubmatch(session, -1) {
		switch m[1] {
		case "deadline":
			v[m[1]] = strconv.FormatInt(time.Now().Add(servicetest.Soon).UnixMilli(), 10)
		case "milliseconds":
			v[m[1]] = "60000"
		default:
			v[m[1]] = strings.ToLower(rand.Text())
		}
	}
	return v
}

// fill returns a text of a session with values in place of the placeholders.
func (v values) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		return v[strings.Trim(name, "<>")]
	})
}

// matchText reports whether a text is what the page has, and learns the values of
// placeholders that are new.
func (v values) matchText(want, got string) bool {
	if want == "…" {
		return got != ""
	}
	if m := placeholder.FindStringSubmatch(want); m != nil && m[0] == want && v[m[1]] == "" {
		v[m[1]] = got
	}
	return got != "" && v.fill(want) == got
}

func (v values) requireText(t *testing.T, want, got string) {
	t.Helper()
	require.True(t, v.matchText(want, got), "want %s, got %s", v.fill(want), got)
}

// bareNumber is a placeholder that stands for a number.
var bareNumber = regexp.MustCompile(`:(<[a-z]+>)`)

// requireMessage is requireText for JSON texts, whose members may be in any order, as may
// be the items of a batch.
func (v values) requireMessage(t *testing.T, want, got string) {
	t.Helper()
	wanted := parse(t, bareNumber.ReplaceAllString(want, `:"$1"`))
	require.True(t, v.match(wanted, parse(t, got)), "want %s, got %s", v.fill(want), got)
}

func parse(t *testing.T, text string) (value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&value), text)
	return value
}

func (v values) match(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		for name := range want {
			ok = ok && v.match(want[name], got[name])
		}
		return ok && len(got) == len(want)
	case []any:
		got, ok := got.([]any)
		return ok && v.matchSet(want, slices.Clone(got))
	case string:
		return got != nil && v.matchText(want, fmt.Sprint(got))
	}
	return want == got
}

// matchSet reports whether each of want matches another one of got.
func (v values) matchSet(want, got []any) bool {
	for _, w := range want {
		at := slices.IndexFunc(got, func(g any) bool { return v.match(w, g) })
		if at < 0 {
			return false
		}
		got = slices.Delete(got, at, at+1)
	}
	return len(got) == 0
}

// A pageRequest is a request of a session, as a client of ours is to make it.
type pageRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Meta   jsonrpc2.Meta   `json:"meta"`
}

// An outcome is what a call or a notification has returned.
type outcome struct {
	result json.RawMessage
	err    error
}

// start has a client of ours make the request of a session.
func start(t *testing.T, client *rpc.Client, text string) <-chan outcome {
	t.Helper()
	var r pageRequest
	require.NoError(t, json.Unmarshal([]byte(bareNumber.ReplaceAllString(text, `:"$1"`)), &r))
	ended := make(chan outcome, 1)
	ctx := context.Background()
	if r.Meta != nil {
		ctx = jsonrpc2.WithMeta(ctx, r.Meta)
	}
	go func() {
		var o outcome
		if r.ID == nil {
			o.err = jsonrpc2.Notify(ctx, client, r.Method, r.Params)
		} else {
			o.result, o.err = jsonrpc2.Call[json.RawMessage](ctx, client, r.Method, r.Params)
		}
		ended <- o
	}()
	return ended
}

// requireOutcome requires that a client has got what a server of the session sent, which is
// "" if it sent nothing.
func requireOutcome(t *testing.T, ended <-chan outcome, response string) {
	t.Helper()
	var o outcome
	select {
	case o = <-ended:
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "the call does not end")
	}
	var want struct {
		Result json.RawMessage
		Error  *jsonrpc2.Error
	}
	if response != "" {
		require.NoError(t, json.Unmarshal([]byte(response), &want))
	}
	if want.Error != nil {
		servicetest.RequireCode(t, want.Error.Code, o.err)
		return
	}
	require.NoError(t, o.err, response)
	require.True(t, bytes.Equal(want.Result, o.result), "want %s, got %s", want.Result, o.result)
}

// newClient returns a client that the test's cleanup closes.
func newClient(t *testing.T, conn jsonrpc2.ClientConn) *rpc.Client {
	t.Helper()
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: servicetest.Soon, Logger: servicetest.Quiet})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// quietServer are the options of a server of Calc.
var quietServer = jsonrpc2.ServerOptions{Logger: servicetest.Quiet}

// playConsole runs the command lines of a session, and requires what they print, where the
// page's … stands for any text. The variables are added to the environment.
func playConsole(t *testing.T, session string, env []string) {
	t.Helper()
	for part := range strings.SplitSeq(strings.TrimPrefix(session, "$ "), "\n$ ") {
		line, shows, _ := strings.Cut(part, "\n")
		bash := exec.CommandContext(t.Context(), "bash", "-c", line)
		bash.Env = append(os.Environ(), env...)
		got, err := bash.CombinedOutput()
		require.NoError(t, err, "%s: %s", line, got)
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(shows, "\n")), "…", "(?s:.+)")
		require.Regexp(t, "^"+want+"$", strings.TrimRight(string(got), "\n"), line)
	}
}
