package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// An app is a run of the program.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	target target
	output output
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
}

// run runs a command line, and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(withTwoDashes(root, args))
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	a.report(err)
	status := statusOf(err)
	if status == exitUsage {
		fmt.Fprintf(a.stderr, "%s -h shows the usage.\n", command.CommandPath())
	}
	return status
}

// report prints an error.
func (a *app) report(err error) {
	for line := range strings.Lines(describe(err)) {
		fmt.Fprintln(a.stderr, printable(withoutPasswords(strings.TrimSuffix(line, "\n"))))
	}
}

// root returns the command with all others below it.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "jsonrpc2",
		Short: "Call services and look after their queues",
		Long: `Call services and look after their queues, over Redis, RabbitMQ, HTTP, TCP and
Unix sockets.

The exit status tells a script whether it may run the command again:
  0  done
  1  the server answered with an error, or the command has failed
  2  wrong usage
  3  what was to run did certainly not run
  4  it may have run`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noSuchCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(helpCommand())
	a.target.define(root, a.getenv)
	a.output.define(root)
	root.AddCommand(a.callCommand(), a.notifyCommand(), a.benchCommand(), a.discoverCommand(),
		a.queueCommand(), a.serversCommand(), a.deadCommand(), a.completionCommand())
	return root
}

// version returns the version of the module that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// noSuchCommand returns an error if there are operands: they name no command.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return misused("there is no command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return misused("there is no command %q: there are %s", args[0], strings.Join(names, ", "))
}

// A usageError is a wrong command line. It says what to write instead.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func misused(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// isUsage reports whether an error is one of a wrong command line.
func isUsage(err error) bool {
	_, wrong := errors.AsType[usageError](err)
	return wrong
}
