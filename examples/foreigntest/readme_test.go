package foreigntest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// examples is the folder of the examples, seen from the tests.
const examples = ".."

// exampleCall is what the README's clients are told to call.
const exampleCall = `add '[1,5.1]'`

// A program is a command of the README that runs an example.
type program struct {
	command                   string
	file                      string // in the folder of the examples
	language, transport, role string // such as ruby, redis, client
}

var programCommand = regexp.MustCompile("`\\w+ ((ruby|python|node)/(redis|amqp|http)_(client|server)\\.\\w+)(?: [^`]*)?`")

// programRow is a row of the README's table: a server stands on its left, the client on its right.
var programRow = regexp.MustCompile("(?m)^\\| `[^`]*_server[^`]*` \\| `[^`]*_client[^`]*` \\|$")

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "README.md"))
	require.NoError(t, err)
	return string(text)
}

// programs returns the programs that the README tells how to run.
func programs(t *testing.T) (found []program) {
	t.Helper()
	for _, m := range programCommand.FindAllStringSubmatch(readme(t), -1) {
		found = append(found, program{strings.Trim(m[0], "`"), m[1], m[2], m[3], m[4]})
	}
	return found
}

// calling returns the command of a client for other arguments than the README's.
func (p program) calling(args string) string {
	return strings.TrimSuffix(p.command, exampleCall) + args
}

// The README has a command for each program, each client calls the same, and no command of a
// server stands where that of a client belongs.
func TestReadme(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examples, "*", "*_*"))
	require.NoError(t, err)
	var there, told []string
	for _, file := range files {
		if path := strings.TrimPrefix(filepath.ToSlash(file), examples+"/"); programCommand.MatchString("`run " + path + "`") {
			there = append(there, path)
		}
	}
	for _, p := range programs(t) {
		told = append(told, p.file)
		require.Equal(t, p.role == "client", strings.HasSuffix(p.command, " "+exampleCall), p.command)
	}
	require.Len(t, told, 3*3*2)
	require.Len(t, programRow.FindAllString(readme(t), -1), 3*3)
	for _, needed := range install {
		require.Contains(t, readme(t), "apt-get install "+needed.packages+"\n")
	}
	require.ElementsMatch(t, there, told)
}

var goCommand = regexp.MustCompile(`(?m)^    (go run ./calc/cmd/calc (serve|add 1 5\.1) (-broker .*))$`)

// The README's Go client calls the broker and the queue that the environment names, and its Go
// server serves there.
func TestGoCommands(t *testing.T) {
	t.Parallel()
	commands := goCommand.FindAllStringSubmatch(readme(t), -1)
	require.Len(t, commands, 2)
	serve, add := commands[0], commands[1]
	require.Equal(t, []string{"serve", add[3]}, serve[2:])
	s := newRedisSite(t)
	goServer := servicetest.Serve(t, s.listen(t), jsonrpc2.ServerOptions{})
	whenServed(t, s)
	got := workspace{filepath.Join(examples, "..")}.run(t.Context(), add[1], s.env())
	require.Equal(t, outcome{stdout: "6.1\n", succeeded: true}, got)
	goServer.End(t)
	s.empty(t)
}
