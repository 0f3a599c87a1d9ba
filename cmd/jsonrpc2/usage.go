package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageTemplate is what -h shows below the description. It fits 80 columns.
const usageTemplate = `Usage:{{if and .Runnable (not .HasSubCommands)}}
  {{.UseLine}}{{else}}
  {{.CommandPath}} COMMAND [flags]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}

A URL is one of
  redis://[user:password@]host:port[/db]          rediss://… with TLS
  amqp://[user:password@]host[:port][/vhost]      amqps://…
  http://[user:password@]host[:port]/path         https://…
  tcp://host:port                                 tls://…
  unix:///path/of/socket
{{if .HasAvailableSubCommands}}
{{.CommandPath}} COMMAND -h tells more of a command.
{{end}}`

// helpCommand returns the command that shows the help of another.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(c.Root(), args)
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

// withTwoDashes returns the arguments with flags such as -queue written as --queue, which is
// how the flag package and other programs know them.
func withTwoDashes(root *cobra.Command, args []string) []string {
	known := map[string]bool{"help": true, "version": true}
	visit(root, func(c *cobra.Command) {
		note := func(f *pflag.Flag) { known[f.Name] = true }
		c.LocalFlags().VisitAll(note)
		c.PersistentFlags().VisitAll(note)
	})
	written := make([]string, len(args))
	for i, arg := range args {
		if arg == "--" {
			copy(written[i:], args[i:])
			break
		}
		name, isFlag := strings.CutPrefix(arg, "-")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && known[name] {
			arg = "-" + arg
		}
		written[i] = arg
	}
	return written
}

func visit(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		visit(sub, f)
	}
}

// completionCommand returns the command that prints a shell's script.
func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands in a shell",
		Long:  "Print a script that completes commands, flags and their values in a shell.",
		Example: `  source <(jsonrpc2 completion bash)      needs the package bash-completion
  source <(jsonrpc2 completion zsh)
  jsonrpc2 completion fish | source`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("which shell: bash, zsh or fish?")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.stdout)
			case "fish":
				return c.Root().GenFishCompletion(a.stdout, true)
			}
			return misused("there is no completion for %q: there are bash, zsh and fish", args[0])
		},
	}
}

// completes makes a flag be completed with some values.
func completes(c *cobra.Command, flag string, directive cobra.ShellCompDirective, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, directive))
	if err != nil {
		panic(err) // there is no such flag, or it has another completion
	}
}

// An oneOfFlag is a flag that has one of some values.
type oneOfFlag struct {
	value *string
	of    []string
}

func (f *oneOfFlag) String() string { return *f.value }
func (f *oneOfFlag) Type() string   { return strings.Join(f.of, "|") }
func (f *oneOfFlag) Set(value string) error {
	if !slices.Contains(f.of, value) {
		return fmt.Errorf("want %s", strings.Join(f.of, " or "))
	}
	*f.value = value
	return nil
}

// oneOf defines a flag that has one of some values, by default the first.
func oneOf(c *cobra.Command, flags *pflag.FlagSet, value *string, name, short string, of []string, usage string) {
	*value = of[0]
	flags.VarP(&oneOfFlag{value, of}, name, short, usage)
	completes(c, name, cobra.ShellCompDirectiveNoFileComp, of...)
}
