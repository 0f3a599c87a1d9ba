//go:build !linux

package rubytest

import "syscall"

// dieWithParent does nothing: only Linux has such a signal.
func dieWithParent() *syscall.SysProcAttr { return nil }
