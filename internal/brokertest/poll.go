package brokertest

import (
	"errors"
	"fmt"
	"time"
)

const (
	startTimeout = 60 * time.Second
	pollInterval = 20 * time.Millisecond
)

// errStopped says that there is nothing left to wait for.
var errStopped = errors.New("stopped")

// poll calls ready until it returns nil. It fails with errStopped once stop
// is closed, and after startTimeout with the last error of ready.
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
