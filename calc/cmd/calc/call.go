package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/micromessaging/jsonrpc2/calc"
)

// A method is a method of calc.Client that takes two operands.
type method func(*calc.Client, context.Context, float64, float64) (float64, error)

// caller returns the run function of the subcommand name. It calls m with the two operands,
// and prints the result.
func caller(name string, m method) func(context.Context, invocation) error {
	return func(ctx context.Context, in invocation) error {
		a, b, err := numbers(name, in.operands)
		if err != nil {
			return err
		}
		conn, closeBroker, err := in.flags.dial()
		if err != nil {
			return err
		}
		defer closeBroker()
		client := calc.NewClient(conn)
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, in.flags.timeout)
		defer cancel()
		result, err := m(client, ctx, a, b)
		if err == nil {
			_, err = fmt.Fprintln(in.stdout, result)
		}
		return err
	}
}

// numbers parses the two operands of the command name.
func numbers(name string, operands []string) (a, b float64, err error) {
	if len(operands) != 2 {
		return 0, 0, misused("calc %s wants two numbers, such as: calc %s 1 5.1", name, name)
	}
	a, err = number(operands[0])
	if err == nil {
		b, err = number(operands[1])
	}
	return a, b, err
}

// number parses an operand. JSON must be able to carry the number.
func number(operand string) (float64, error) {
	n, err := strconv.ParseFloat(operand, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, misused("%s is too large a number: there are those up to 1.7e308", quoted(operand))
	case err != nil, math.IsNaN(n), math.IsInf(n, 0): // JSON has neither NaN nor Inf
		return 0, misused("%s is not a number: write one such as 1, -5.1 or 1e3", quoted(operand))
	}
	return n, nil
}
