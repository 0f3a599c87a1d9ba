package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// playVariable makes the test binary play the program that it names.
const playVariable = "BENCHMARKS_TEST_PLAY"

func TestMain(m *testing.M) {
	name := os.Getenv(playVariable)
	if name == "" && slices.Contains(os.Args, "-measure") {
		name = "measurer" // a row started this program again
	}
	play, ok := map[string]func() error{
		"measurer": func() error { return run(context.Background(), []string{"-measure"}) },
		"parent":   playParent,
		"old":      func() error { return errors.New("flag provided but not defined: -measure") },
		"deaf":     playDeaf,
		"nats":     playNATS,
	}[name]
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
