// Command openrpcdoc writes the doc comments of packages as a Go map, for the option Doc of
// the package openrpc.
//
//	//go:generate go run github.com/micromessaging/jsonrpc2/openrpc/cmd/openrpcdoc -o openrpc_doc.go
//
// The map has the comments of types, of their fields, and of methods with two params that return
// an error. It reads no types or fields that are not exported. The map is a variable:
//
//	openrpc.New(info, &openrpc.Options{Doc: openRPCDoc}, Calc{})
//
// The command reads the package in the current folder, or those in the folders that are named.
// Their names must differ, since the keys of the map begin with them. The file's package is that
// of the first folder, unless -package names another.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs a command line and returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("openrpcdoc", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: openrpcdoc [flags] [FOLDER]...\n\nThe default is the current folder. Flags:")
		flags.PrintDefaults()
	}
	file := flags.String("o", "", "`file` to write; standard output if empty")
	name := flags.String("var", "openRPCDoc", "`name` of the variable")
	pkg := flags.String("package", "", "`name` of the file's package; that of the first folder if empty")
	err := flags.Parse(args) // which prints its errors
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := generate(flags.Args(), *file, *pkg, *name, stdout); err != nil {
		fmt.Fprintln(stderr, "openrpcdoc:", err)
		return 1
	}
	return 0
}

// generate writes the comments of the packages in the folders.
func generate(folders []string, file, pkg, name string, stdout io.Writer) error {
	if len(folders) == 0 {
		folders = []string{"."}
	}
	c := newComments(file)
	for _, folder := range folders {
		if err := c.read(folder); err != nil {
			return err
		}
	}
	if pkg == "" {
		pkg = c.first
	}
	source, err := c.source(pkg, name)
	if err != nil {
		return err
	}
	if file == "" {
		_, err = stdout.Write(source)
		return err
	}
	return os.WriteFile(file, source, 0o666)
}
