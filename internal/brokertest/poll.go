package brokertest

import (
	"errors"
	"fmt"
	"time"
)

const (
	startTimeout = 60 * time.Second      // for a start, and for whatever else poll waits for
	pollInterval = 20 * time.Millisecond // between two calls of ready
)

// errStopped is poll's error when stop is closed.
var errStopped = errors.New("stopped")

// poll calls ready until ready returns nil. It fails with errStopped once stop is closed, and
// after startTimeout with the last error of ready. A nil stop is never closed.
func poll(stop <-chan struct{}, ready func() error) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", startTimeout, err)
		}
		select {
		case <-stop:
			return errStopped
		case <-time.After(pollInterval):
		}
	}
}
