// Command openrpcdoc writes the doc comments of packages as a Go map, for the option Doc of
// the package openrpc.
//
//	//go:generate go run github.com/micromessaging/jsonrpc2/openrpc/cmd/openrpcdoc -o openrpc_doc.go
//
// The map has the comments of exported types, of their exported fields, and of the methods
// that net/rpc takes. It is a variable of the package in the current folder:
//
//	openrpc.New(info, &openrpc.Options{Doc: openRPCDoc}, Calc{})
//
// Folders of packages may be named, also several: the map then has the comments of all.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == flag.ErrHelp:
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "openrpcdoc:", err)
		os.Exit(1)
	}
}

// run runs a command line.
func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("openrpcdoc", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: openrpcdoc [flags] [FOLDER]...\n\nThe default is the current folder. Flags:")
		flags.PrintDefaults()
	}
	file := flags.String("o", "", "`file` to write; standard output if empty")
	name := flags.String("var", "openRPCDoc", "`name` of the variable")
	pkg := flags.String("package", "", "`name` of the file's package; that of the first folder if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	folders := flags.Args()
	if len(folders) == 0 {
		folders = []string{"."}
	}
	c := comments{texts: make(map[string]string)}
	for _, folder := range folders {
		if err := c.read(folder); err != nil {
			return err
		}
	}
	if *pkg == "" {
		*pkg = c.first
	}
	source, err := c.source(*pkg, *name)
	if err != nil {
		return err
	}
	if *file == "" {
		_, err = stdout.Write(source)
		return err
	}
	return os.WriteFile(*file, source, 0o666)
}
