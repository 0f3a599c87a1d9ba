package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// buildBoth builds into dir the programs that measure this checkout and another.
func buildBoth(ctx context.Context, other, dir string) (p programs, err error) {
	b := builder{ctx, dir}
	if p[0], err = b.buildWith("..", "this"); err != nil {
		return p, err
	}
	p[1], err = b.buildOther(other)
	return p, err
}

// A builder builds programs. It keeps all files in one folder.
type builder struct {
	ctx context.Context
	dir string
}

// buildOther builds the program that measures another checkout. It takes the sources in this
// folder, so that only the library differs. If they do not compile with the other library, it
// takes the benchmarks of the other checkout. Those have to understand the same orders.
func (b builder) buildOther(checkout string) (program string, err error) {
	program, err = b.buildWith(checkout, "other")
	if err == nil || b.ctx.Err() != nil {
		return program, err
	}
	err = fmt.Errorf("these benchmarks don't compile with %s: %w", checkout, err)
	program, ownErr := b.buildOwn(checkout, "own")
	if ownErr != nil {
		return "", errors.Join(err, fmt.Errorf("its own benchmarks can't take their place: %w", ownErr))
	}
	fmt.Fprintf(os.Stderr, "benchmarks: %v\nbenchmarks: its own benchmarks take their place\n", err)
	return program, nil
}

// buildWith builds the sources in this folder with the library of a checkout. If the two
// require different versions of a module, the later one is used.
func (b builder) buildWith(checkout, name string) (program string, err error) {
	library, err := filepath.Abs(checkout)
	if err != nil {
		return "", err
	}
	program = filepath.Join(b.dir, name)
	mod := program + ".mod"
	err = errors.Join(
		concatenate(mod, "go.mod"),
		concatenate(program+".sum", "go.sum", filepath.Join(library, "go.sum")),
	)
	if err != nil {
		return "", err
	}
	if err := b.goCommand(".", "mod", "edit", "-replace=github.com/micromessaging/jsonrpc2="+library, mod); err != nil {
		return "", err
	}
	return program, b.goCommand(".", "build", "-buildvcs=false", "-mod=mod", "-modfile="+mod, "-o", program, ".")
}

// buildOwn builds the benchmarks of a checkout. It returns an error if they do not
// understand orders.
func (b builder) buildOwn(checkout, name string) (program string, err error) {
	program = filepath.Join(b.dir, name)
	folder := filepath.Join(checkout, "benchmarks")
	if err := b.goCommand(folder, "build", "-buildvcs=false", "-o", program, "."); err != nil {
		return "", err
	}
	m, err := startMeasurer(b.ctx, program)
	if err != nil {
		return "", err
	}
	m.end()
	return program, nil
}

// goCommand runs the go command in a folder, without the network: the command would otherwise
// look there for packages that a checkout lacks. goCommand waits for the command even if ctx
// is done, since killing it would leave behind the compilers that it started. An interrupt
// from a terminal reaches all of them.
func (b builder) goCommand(folder string, args ...string) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOTMPDIR="+b.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return b.ctx.Err()
}

// concatenate writes the texts of files, one after another, into the file to.
func concatenate(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	return os.WriteFile(to, all, 0o600)
}
