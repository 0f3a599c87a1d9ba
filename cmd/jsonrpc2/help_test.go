package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Each command has a help, which fits a terminal, and has an example.
func TestHelp(t *testing.T) {
	t.Parallel()
	visit(newApp(nil, nil, nil, environment()).root(), func(c *cobra.Command) {
		words := strings.Fields(c.CommandPath())[1:]
		help := must(t, append(words, "-h")...)
		require.Equal(t, help, must(t, append(words, "-help")...))
		if c.Name() != "help" {
			require.Equal(t, help, must(t, append([]string{"help"}, words...)...))
		}
		for line := range strings.Lines(help) {
			require.LessOrEqual(t, utf8.RuneCountInString(line), 90, line)
		}
		require.NotContains(t, help, "Additional help topics")
		for _, word := range words {
			require.Contains(t, help, word)
		}
		if c.HasParent() && c.Name() != "help" {
			require.NotEmpty(t, c.Example)
		}
	})
	require.Contains(t, must(t), "Usage:")
	require.Contains(t, must(t, "--version"), "jsonrpc2 version ")
}

// The examples in the help are command lines that are understood.
func TestExamples(t *testing.T) {
	t.Parallel()
	app := newApp(nil, nil, nil, environment())
	root := app.root()
	visit(root, func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			if _, args, ok := strings.Cut(line, "jsonrpc2 "); ok && c.Name() != "completion" {
				args, _, _ = strings.Cut(args, " > ")
				args, _, _ = strings.Cut(args, " | ")
				found, rest, err := root.Find(strings.Fields(args))
				require.NoError(t, err, line)
				require.NoError(t, found.ParseFlags(rest), line)
			}
		}
	})
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := must(t, "completion", shell)
		require.Contains(t, script, "jsonrpc2")
		if shell == "bash" {
			check := exec.CommandContext(t.Context(), "bash", "-n")
			check.Stdin = strings.NewReader(script)
			require.NoError(t, check.Run())
		}
	}
	for _, test := range []struct {
		words, want string
	}{
		{"", "bench call completion dead discover help notify queue servers"},
		{"dead ", "delete list requeue show"},
		{"completion ", "bash fish zsh"},
		{"queue -o ", "json text"},
		{"call --reply ", "id list"},
		{"call -b re", "redis:// rediss://"},
		{"call --me", "--meta"},
		{"call add ", "- @"},
	} {
		words := strings.Split(test.words, " ")
		var out, ignored bytes.Buffer
		require.Zero(t, newApp(nil, &out, &ignored, environment()).run(t.Context(), append([]string{"__complete"}, words...)))
		var found []string
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if strings.HasPrefix(word, words[len(words)-1]) && word[0] != ':' { // as the shell chooses
				found = append(found, word)
			}
		}
		require.ElementsMatch(t, strings.Fields(test.want), found, test.words)
	}
}
