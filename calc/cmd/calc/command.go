package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/micromessaging/jsonrpc2/calc"
)

// A usageError is a wrong command line. It says what to write instead.
type usageError string

func (e usageError) Error() string { return string(e) }

// misused makes a usageError.
func misused(format string, args ...any) error {
	return usageError(fmt.Sprintf(format, args...))
}

// quoted quotes an argument for an error. It hides one that may be a URL with a password.
func quoted(arg string) string {
	if strings.ContainsAny(arg, "@?") {
		return `"…"`
	}
	return strconv.Quote(arg)
}

// A subcommand is a command that the first argument names.
type subcommand struct {
	name     string
	operands string // as the usage shows them; "" if the command takes none
	does     string // what it does, for the usage
	example  string // of the arguments behind its name, for the usage
	flags    flagKinds
	run      func(context.Context, invocation) error
}

// An invocation has the parsed arguments of a command, and where the command writes.
type invocation struct {
	flags          flags
	operands       []string
	stdout, stderr io.Writer
}

func commands() []subcommand {
	add, subtract := (*calc.Client).Add, (*calc.Client).Subtract
	return []subcommand{
		{"serve", "", "serve until SIGINT or SIGTERM", "-broker " + exampleURL, brokerFlags | serveFlags, serve},
		{"add", "A B", "print A + B", "1 5.1 -broker " + exampleURL, brokerFlags | callFlags, caller("add", add)},
		{"subtract", "A B", "print A - B", "1 5 -broker " + exampleURL, brokerFlags | callFlags, caller("subtract", subtract)},
		{"version", "", "print the version", "", 0, version},
		{"help", "[command]", "print this, or a command's usage", "add", 0, help},
	}
}

// find returns the command that the first argument names. -h and -help stand for help,
// -version for version.
func find(arg string) (subcommand, error) {
	name := arg
	switch flagName(arg) {
	case "h", "help":
		name = "help"
	case "version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
	}
	const names = "serve, add, subtract, version and help"
	if isFlag(arg) {
		return subcommand{}, misused("a command comes first, such as: calc serve -broker %s; there are %s", exampleURL, names)
	}
	return subcommand{}, misused("there is no command %s: there are %s", quoted(arg), names)
}

// help prints the usage of the program, or of the command that its operand names.
func help(_ context.Context, in invocation) error {
	text := usage()
	if len(in.operands) > 0 {
		c, err := find(in.operands[0])
		if err != nil {
			return err
		}
		text = c.usage()
	}
	_, err := io.WriteString(in.stdout, text)
	return err
}

// usage returns the usage of the program.
func usage() string {
	text := "usage: " + usageLine("", "show it all on an embedded broker")
	for _, c := range commands() {
		text += "       " + c.line()
	}
	return text + "\n" + (brokerFlags | callFlags | serveFlags).usage()
}

// usage returns the usage of one command.
func (c subcommand) usage() string {
	text := "usage: " + c.line()
	if c.example != "" {
		text += fmt.Sprintf("such as: calc %s %s\n", c.name, c.example)
	}
	if c.flags != 0 {
		text += "\n" + c.flags.usage()
	}
	return text
}

// line returns the command's line in a usage.
func (c subcommand) line() string {
	args := c.name
	if c.flags != 0 {
		args += " [flags]"
	}
	return usageLine(args+" "+c.operands, c.does)
}

func usageLine(args, does string) string { return fmt.Sprintf("calc %-25s%s\n", args, does) }
