package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// deliver returns a request that was taken as the codec gets it.
func (s *ServerConn) deliver(taken delivery) jsonrpc2.Delivery {
	s.body = append(s.body[:0], taken.body...)
	s.header.Scan(s.body) // what is broken is for the codec
	list, err := s.replyList()
	d := jsonrpc2.Delivery{Body: s.body, Header: &s.header, Deadline: s.clock.deadline(s.header.Deadline()), Attempt: taken.attempt}
	switch {
	case err != nil && s.header.WantsAnswer():
		s.countUnanswerable(err)
		d.Err = err
	case taken.dead:
		d.Err = errDead(taken.attempt)
	}
	request := taken.held
	d.Reply = func(body []byte) error {
		switch {
		case body == nil:
			s.settle(request)
			return nil
		case err != nil:
			s.settle(request)
			return err
		}
		return s.replier.reply(request, list, body)
	}
	return d
}

// errDead is what the caller of a dead request is answered with.
func errDead(attempts int) *jsonrpc2.Error {
	return &jsonrpc2.Error{
		Code:    jsonrpc2.CodeServer,
		Message: fmt.Sprintf("given up: its server died each of the %d times that it was started", attempts),
	}
}

var (
	errNoAddress = errors.New("redisconn: no reply list: neither a string reply_to nor a string id")
	errTooLong   = fmt.Errorf("redisconn: the reply list's name is longer than %d bytes", maxAddress)
)

// replyList returns the list to answer the message in hand on. It comes from a
// stranger.
func (s *ServerConn) replyList() (string, error) {
	list := s.header.ReplyTo()
	if list == "" {
		list = s.header.ID()
	}
	switch {
	case list == "":
		return "", errNoAddress
	case len(list) > maxAddress:
		return "", errTooLong
	case list == s.queue || strings.HasPrefix(list, s.own) || isOwnKey(list):
		return "", fmt.Errorf("redisconn: refused to reply to %q: it is a queue's own", list)
	case !strings.HasPrefix(list, s.opts.ReplyPrefix):
		return "", fmt.Errorf("redisconn: refused to reply to %q: it does not begin with %q", list, s.opts.ReplyPrefix)
	}
	return list, nil
}

// countUnanswerable counts a request that can't be answered.
func (s *ServerConn) countUnanswerable(err error) {
	switch err {
	case errNoAddress, errTooLong:
		s.noAddress.Add(1)
	default:
		s.refused.Add(1)
	}
}

// settle settles a request that needs no answer.
func (s *ServerConn) settle(request *hold.Request) {
	s.replier.settleRequest(request)
	s.places.Free(1)
}

// brokerTime asks for the broker's time for as long as a drain can wait.
func (s *ServerConn) brokerTime() (time.Time, error) {
	type answer struct {
		time time.Time
		err  error
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxClockWait)
	defer cancel()
	told, ok := link.Ask(ctx, s.asker, func() (a answer) {
		a.time, a.err = brokerTime(ctx, s.rdb, s.queue)
		return a
	})
	if !ok {
		return time.Time{}, ctx.Err()
	}
	return told.time, told.err
}
