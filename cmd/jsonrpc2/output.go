package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// An output is how results are written: for people, or with -o json for programs.
type output struct{ format string }

func (o *output) define(root *cobra.Command) {
	oneOf(root, root.PersistentFlags(), &o.format, "output", "o", []string{"text", "json"},
		"how to print results: for people, or as JSON, one value a line")
}

func (o *output) isJSON() bool { return o.format == "json" }

// isTerminal reports whether a reader or a writer is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// coloured reports whether colours are wanted on w: https://no-color.org.
func (a *app) coloured(w io.Writer) bool {
	return isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// printJSON prints a value as a line of JSON.
func (a *app) printJSON(value any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := a.stdout.Write(escaped(line.Bytes()))
	return err
}

// compact returns JSON on one line. What is none stays as it is.
func compact(text []byte) []byte {
	var line bytes.Buffer
	if json.Compact(&line, text) != nil {
		return text
	}
	return line.Bytes()
}

// escaped returns JSON in which control characters that may stand in a string are escaped: they
// come from strangers, and could do things to a terminal. What is no UTF-8 is replaced, as
// JSON's readers do.
func escaped(text []byte) []byte {
	isHarmful := func(r rune) bool { return r >= 0x7f && r < 0xa0 || r == utf8.RuneError }
	if bytes.IndexFunc(text, isHarmful) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if isHarmful(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// printable returns a text without control characters, which could do things to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '·'
		}
		return r
	}, text)
}

// oneLine returns a text with its ends of lines shown as other control characters are.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "·") }

// clipped returns a text of at most n characters.
func clipped(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
