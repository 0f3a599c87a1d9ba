package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output runs a command line that must succeed, and returns what it writes.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	require.NoError(t, run(args, &stdout, io.Discard))
	return stdout.String()
}

func TestComments(t *testing.T) {
	t.Parallel()
	c := comments{texts: make(map[string]string)}
	require.NoError(t, c.read("testdata/shop"))
	require.Equal(t, "shop", c.first)
	require.Equal(t, map[string]string{
		"shop.Args":        "Args are of a group, on two lines.\n\nThey have a list:\n  - one\n  - two",
		"shop.Args.ID":     "ID is above.",
		"shop.Args.Name":   "is behind",
		"shop.Args.A":      "Both stand for two.",
		"shop.Args.B":      "Both stand for two.",
		"shop.Shop":        "Shop is a service.",
		"shop.Shop.Buy":    "Buy is a method of a pointer.",
		"shop.Shop.Sell":   "Sell has its params under one type.",
		"shop.Generic":     "Generic is a service.",
		"shop.Generic.Get": "Get is a method of a generic type.",
		"shop.hidden.Do":   "Do is its method.",
	}, c.texts)
}

func TestFlags(t *testing.T) {
	t.Parallel()
	const calc = "../../../calc"
	require.Contains(t, output(t, calc), "package calc\n")
	require.Contains(t, output(t), "package main\n", "the current folder")
	both := output(t, "-package", "other", "-var", "docs", calc, "testdata/shop")
	for _, part := range []string{"package other\n", "var docs = map[string]string{\n", `"calc.Args":`, `"shop.Args":`} {
		require.Contains(t, both, part)
	}
	file := filepath.Join(t.TempDir(), "doc.go")
	require.Empty(t, output(t, "-o", file, calc))
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, output(t, calc), string(written))
}

// What go generate has made for the tests of openrpc is as the source is now.
func TestGenerated(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile("../../calcdoc_test.go")
	require.NoError(t, err)
	require.Equal(t, output(t, "-package", "openrpc_test", "-var", "calcDoc", "../../../calc"), string(written), "run go generate in openrpc")
}

func TestErrors(t *testing.T) {
	t.Parallel()
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "broken.go"), []byte("package broken\n\nfunc {\n"), 0o600))
	for want, args := range map[string][]string{
		"nowhere":                      {"testdata/nowhere"},
		"no buildable Go source files": {"testdata"},
		"broken.go:3:6":                {broken},
		"not defined: -x":              {"-x"},
		"expected 'IDENT'":             {"-var", "1", "testdata/shop"},
		"no such file":                 {"-o", "testdata/nowhere/doc.go", "testdata/shop"},
	} {
		require.ErrorContains(t, run(args, io.Discard, io.Discard), want, args)
	}
	var help bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, io.Discard, &help), flag.ErrHelp)
	require.Contains(t, help.String(), "-package name")
}
