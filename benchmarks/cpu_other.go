//go:build !unix

package main

import (
	"errors"
	"time"
)

// cpuTime returns an error: only Unix has getrusage.
func cpuTime() (time.Duration, error) { return 0, errors.ErrUnsupported }
