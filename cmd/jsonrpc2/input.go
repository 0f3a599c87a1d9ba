package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// within returns what read returns, or an error if ctx is done first. read then goes on in its
// goroutine until the program ends, since a read of standard input can't be interrupted.
func within[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, exitStatus{context.Cause(ctx), exitNotRun}
	}
}

// read returns what an operand stands for: a file, standard input, or itself.
func (a *app) read(ctx context.Context, operand string) ([]byte, error) {
	switch path, isFile := strings.CutPrefix(operand, "@"); {
	case operand == "-":
		return within(ctx, func() ([]byte, error) { return io.ReadAll(a.stdin) })
	case isFile:
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, usageError{err}
		}
		return text, nil
	}
	return []byte(operand), nil
}

// open opens a file, or standard input for "-".
func (a *app) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(a.stdin), nil
	}
	in, err := os.Open(file)
	if err != nil {
		return nil, usageError{err}
	}
	return in, nil
}

// A line is one of a file, from 1 on. The last one of a file that can't be read has an error.
type line struct {
	number int
	text   []byte
	err    error
}

// lines sends the lines that are not empty, until ctx is done.
func lines(ctx context.Context, in io.Reader, maxLine int) <-chan line {
	all := make(chan line)
	send := func(l line) bool {
		select {
		case all <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(all)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxLine)
		n := 1
		for ; scanner.Scan(); n++ {
			text := bytes.TrimSpace(scanner.Bytes())
			if len(text) > 0 && !send(line{number: n, text: bytes.Clone(text)}) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			send(line{number: n, err: err})
		}
	}()
	return all
}

// canAsk returns an error if there is nobody to ask.
func (a *app) canAsk(doing string) error {
	if !isTerminal(a.stdin) {
		return misused("%s asks first, and standard input is no terminal: write --yes", doing)
	}
	return nil
}

// ask asks a question on the terminal, and returns an error if the answer is not yes.
func (a *app) ask(ctx context.Context, question string) error {
	fmt.Fprintf(a.stderr, "%s [y/N] ", printable(question))
	answer, err := within(ctx, func() (string, error) { return bufio.NewReader(a.stdin).ReadString('\n') })
	if err != nil {
		fmt.Fprintln(a.stderr)
		return exitStatus{err, exitNotRun}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return exitStatus{errors.New("not done: the answer was no"), exitNotRun}
}
