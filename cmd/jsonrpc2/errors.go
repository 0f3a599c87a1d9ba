package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"regexp"
	"strings"

	"github.com/micromessaging/jsonrpc2"
)

// These are the exit statuses. A batch of calls has the highest of its calls.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotRun
	exitMayHaveRun
)

// An exitStatus is an error with a status of its own.
type exitStatus struct {
	error
	status int
}

func (e exitStatus) Unwrap() error { return e.error }

// notRun gives the error of a broker that could not be asked the status of what did not run.
// A queue without a dead list is another matter: a second try would not help.
func notRun(err error) error {
	if errors.Is(err, jsonrpc2.ErrNoDeadList) {
		return err
	}
	return exitStatus{err, exitNotRun}
}

// A kind is a way in which calls fail.
type kind struct {
	err    error
	name   string
	status int
}

// kinds are in the order in which they count: an error may be of several.
var kinds = []kind{
	{jsonrpc2.ErrNotRun, "not run", exitNotRun},
	{jsonrpc2.ErrUnavailable, "not sent", exitNotRun},
	{jsonrpc2.ErrNoServer, "no server", exitNotRun},
	{jsonrpc2.ErrOverloaded, "overloaded", exitNotRun},
	{jsonrpc2.ErrTooLarge, "too large", exitNotRun},
	{jsonrpc2.ErrTimeout, "timeout", exitMayHaveRun},
	{jsonrpc2.ErrReplyLost, "reply lost", exitMayHaveRun},
	{jsonrpc2.ErrUnconfirmed, "may have been sent", exitMayHaveRun},
	{jsonrpc2.ErrBadReply, "bad reply", exitMayHaveRun},
	{jsonrpc2.ErrReplyTooLarge, "reply too large", exitMayHaveRun},
	{context.Canceled, "interrupted", exitMayHaveRun},
	{context.DeadlineExceeded, "timeout", exitMayHaveRun},
	{rpc.ErrShutdown, "interrupted", exitMayHaveRun},
}

// kindOf returns the kind of an error that is no answer of a server.
func kindOf(err error) kind {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k
		}
	}
	return kind{err, withoutPrefix(err), exitFailed}
}

// kindName returns the name of an error's kind: the code and the message of a server's.
func kindName(err error) string {
	if answer, ok := jsonrpc2.AsError(err); ok {
		return fmt.Sprintf("error %d: %s", answer.Code, answer.Message)
	}
	return kindOf(err).name
}

// statusOf returns the exit status for an error.
func statusOf(err error) int {
	if status, ok := errors.AsType[exitStatus](err); ok {
		return status.status
	}
	if isUsage(err) {
		return exitUsage
	}
	if _, answered := jsonrpc2.AsError(err); answered {
		return exitFailed
	}
	return kindOf(err).status
}

// describe returns an error as it is printed: that of a server with its code and data.
func describe(err error) string {
	if answer, ok := jsonrpc2.AsError(err); ok {
		text := fmt.Sprintf("error %d: %s", answer.Code, oneLine(answer.Message))
		if len(answer.Data) > 0 {
			text += "\ndata: " + oneLine(string(compact(answer.Data)))
		}
		return text
	}
	return "jsonrpc2: " + withoutPrefix(err)
}

// withoutPrefix returns the text of an error without the name of the package, which is that of
// this program, too.
func withoutPrefix(err error) string { return strings.TrimPrefix(err.Error(), "jsonrpc2: ") }

// userInfo is a user and a password in a URL. The usage of the flags has a [ in its place.
var userInfo = regexp.MustCompile(`://[^\s[]\S*@`)

// withoutPasswords returns a text without those of URLs. They are in no error of the module's
// packages; but a URL may be given where something else is wanted, and the error shows it.
func withoutPasswords(text string) string { return userInfo.ReplaceAllString(text, "://…@") }
