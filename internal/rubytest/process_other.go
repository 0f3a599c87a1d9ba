//go:build !linux

package rubytest

import "syscall"

// dieWithParent does nothing: only Linux can.
func dieWithParent() *syscall.SysProcAttr { return nil }
