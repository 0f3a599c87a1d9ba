package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output runs a command line that must succeed, and returns what it writes.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(args, &stdout, &stderr), stderr.String())
	return stdout.String()
}

// failure runs a command line that must end with a status, and returns its errors.
func failure(t *testing.T, status int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Equal(t, status, run(args, &stdout, &stderr), args)
	require.Empty(t, stdout.String(), args)
	return stderr.String()
}

func TestComments(t *testing.T) {
	t.Parallel()
	c := newComments("")
	require.NoError(t, c.read("testdata/shop"))
	require.Equal(t, "shop", c.first)
	require.Equal(t, map[string]string{
		"shop.Args":        "Args are of a group, on two lines.\n\nThey have a list:\n  - one\n  - two",
		"shop.Args.ID":     "ID is above.",
		"shop.Args.Name":   "is behind",
		"shop.Args.A":      "Both stand for two.",
		"shop.Args.B":      "Both stand for two.",
		"shop.Args.Base":   "Base is one field.",
		"shop.Args.List":   "is of a generic type",
		"shop.Args.Time":   "Time is of another package.",
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

// The file that is written may be in the folder that is read. It is replaced, even if it is no
// Go code since a merge.
func TestOutputIsNotRead(t *testing.T) {
	t.Parallel()
	folder := sourceFolder(t, "package shop\n\n// Args are sent.\ntype Args struct{}\n")
	file := filepath.Join(folder, "openrpc_doc.go")
	want := output(t, folder)
	for _, old := range []string{
		"<<<<<<< HEAD\npackage shop\n",
		"package shop\n\n<<<<<<< HEAD\n",
		"package other\n",
		"package shop\n\n// T is of an older file.\ntype T int\n",
		want,
	} {
		require.NoError(t, os.WriteFile(file, []byte(old), 0o600))
		require.Empty(t, output(t, "-o", file, folder))
		written, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, want, string(written))
	}
}

// What go generate has made for the tests of openrpc is as the source is now.
func TestGenerated(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile("../../calcdoc_test.go")
	require.NoError(t, err)
	require.Equal(t, output(t, "-package", "openrpc_test", "-var", "calcDoc", "../../../calc"), string(written), "run go generate in openrpc")
}

// sourceFolder returns a new folder with a Go file.
func sourceFolder(t *testing.T, source string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "source.go"), []byte(source), 0o600))
	return folder
}

func TestErrors(t *testing.T) {
	t.Parallel()
	broken := sourceFolder(t, "package broken\n\nfunc {\n")
	for want, args := range map[string][]string{
		"nowhere":                      {"testdata/nowhere"},
		"no buildable Go source files": {"testdata"},
		"source.go:3:6":                {broken},
		"both called shop":             {"testdata/shop", sourceFolder(t, "package shop\n")},
		"expected 'IDENT'":             {"-var", "1", "testdata/shop"},
		"no such file":                 {"-o", "testdata/nowhere/doc.go", "testdata/shop"},
	} {
		require.Contains(t, failure(t, 1, args...), want, args)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	wrong := failure(t, 2, "-x")
	require.Equal(t, 1, strings.Count(wrong, "not defined: -x"), wrong)
	require.Contains(t, wrong, "-package name")
	help := failure(t, 0, "-h")
	require.Contains(t, help, "-package name")
}
