// Package waytest keeps a diagram in a package's doc true: the one under the heading "The way
// of a request", which shows the files and functions that a request and its answer pass.
//
// A row has a file and functions of it, separated by commas, and perhaps a remark. Other rows,
// such as those that name a command of the broker, are not checked. The row "the method"
// divides the way in from the way out:
//
//	client.go    WriteRequest    a caller's goroutine
//	  LPUSH      the queue
//	server.go    ReadRequest
//	  the method
//	replier.go   reply, put
package waytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	heading = "# The way of a request"
	method  = "the method" // ends the way in
)

// line matches a row with a file and its functions.
var line = regexp.MustCompile(`^//\t(\S+\.go) +((?:\w+(?:, )?)+)`)

// Require checks the diagram in doc.go of the current folder. It requires that the files and
// functions exist, and that neither the way in nor the way out has a file twice.
func Require(t *testing.T) {
	t.Helper()
	set := token.NewFileSet()
	doc, err := parser.ParseFile(set, "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	var text strings.Builder
	for _, comment := range doc.Doc.List {
		text.WriteString(comment.Text + "\n")
	}
	_, section, found := strings.Cut(text.String(), "// "+heading+"\n")
	require.True(t, found, "doc.go has no %q", heading)
	section, _, _ = strings.Cut(section, "\n// # ")
	in, out, found := strings.Cut(section, method)
	require.True(t, found, "the diagram has no %q", method)
	requireWay(t, set, in)
	requireWay(t, set, out)
}

// requireWay checks the rows of the way in, or of the way out.
func requireWay(t *testing.T, set *token.FileSet, way string) {
	t.Helper()
	passed := make(map[string]bool)
	for row := range strings.Lines(way) {
		match := line.FindStringSubmatch(row)
		if match == nil {
			continue
		}
		file, names := match[1], match[2]
		require.False(t, passed[file], "%s is entered twice", file)
		passed[file] = true
		declared := functions(t, set, file)
		for name := range strings.SplitSeq(names, ", ") {
			require.Contains(t, declared, name, file)
		}
	}
	require.Greater(t, len(passed), 1, "the way has no files")
}

// functions returns the names of the functions and methods in a file.
func functions(t *testing.T, set *token.FileSet, name string) []string {
	t.Helper()
	file, err := parser.ParseFile(set, name, nil, 0)
	require.NoError(t, err)
	var names []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			names = append(names, f.Name.Name)
		}
	}
	return names
}
