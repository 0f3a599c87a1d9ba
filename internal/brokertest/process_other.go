//go:build !unix

package brokertest

import "syscall"

// There are no signals that suspend a process here: sending one fails.
const suspend, resume = syscall.Signal(0), syscall.Signal(0)

func ownGroup() *syscall.SysProcAttr { return nil }

func descendants(int) []int { return nil }

func running(int) bool { return false }

func stopped(int) bool { return true }
