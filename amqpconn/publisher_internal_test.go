package amqpconn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A channel on which all is refused is given up after a while, one on which a
// message is confirmed now and then is not.
func TestChannelThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gaveUp error
		s := &publishing[string]{giveUp: func(err error) { gaveUp = err }}
		for range 10 {
			s.noteConfirmation(false)
			time.Sleep(maxRefusal - 1)
			s.noteConfirmation(false)
			s.noteConfirmation(true)
		}
		require.NoError(t, gaveUp)
		s.noteConfirmation(false)
		time.Sleep(maxRefusal)
		s.noteConfirmation(false)
		require.ErrorIs(t, gaveUp, errRefused)
	})
}
