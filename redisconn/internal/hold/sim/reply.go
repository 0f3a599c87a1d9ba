package sim

import (
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// replyTTL is how long answers that nobody reads are kept.
const replyTTL = time.Minute

// reply sends answers until the server is drained and none is left. A drained server gives up
// after four failures in a row.
func (s *server) reply() {
	failed := 0
	for {
		last := s.draining && s.running == 0 && !s.fetching && !s.reading
		if last && (len(s.answers) == 0 || failed > 3) {
			break
		}
		if len(s.answers) == 0 {
			s.wait(&s.answered, time.Hour)
			continue
		}
		if s.sendSome() {
			failed = 0
			continue
		}
		failed++
		s.sleep(s.h.pause())
	}
	s.replying = false
	s.ended.Set()
}

// sendSome sends the group of the first answer, and reports whether that worked. If not, the
// group goes to the end of the answers.
func (s *server) sendSome() bool {
	group, rest := s.group()
	s.answers = rest
	var sent bool
	switch first := group[0]; {
	case first.client == nil:
		sent = s.settleSilently(group)
	case s.h.remote != nil && first.request != nil:
		sent = s.sendRemote(group)
	case s.h.remote != nil:
		s.push(group)
		sent = true
	default:
		sent = s.settle(group)
	}
	if !sent {
		s.answers = append(s.answers, group...)
	}
	return sent
}

// group returns the answers that one command sends, to the client and of the generation of the
// first one, and the others.
func (s *server) group() (group, rest []answer) {
	first := s.answers[0]
	for _, a := range s.answers {
		if a.client == first.client && a.gen() == first.gen() {
			group = append(group, a)
		} else {
			rest = append(rest, a)
		}
	}
	return group, rest
}

// settle settles requests by the command that pushes their answers. If their list refuses the
// answers, settle settles the requests without them.
func (s *server) settle(group []answer) bool {
	answers := make([]hold.Answer, len(group))
	for i, a := range group {
		answers[i] = hold.Answer{Request: a.request, Body: []byte(a.text)}
	}
	reply, err := s.send(s.worker.SettleCommand(group[0].client.list, replyTTL, answers), group)
	switch {
	case isRefusal(err):
		return s.settleSilently(group)
	case err != nil:
		return false
	}
	hold.NotHeld(reply)
	s.settled(group)
	return true
}

// send sends a command of the worker that settles the requests of a group.
func (s *server) send(c hold.Command, group []answer) (any, error) {
	about := make([]*request, len(group))
	for i, a := range group {
		about[i] = a.of
	}
	return s.h.do(func() *call {
		call := world{s}.call(hold.Mending, c)
		call.about = about
		return call
	}, s.h.readTimeout, s.h.retries)
}

// settled tells the worker that requests are settled, and frees their places.
func (s *server) settled(group []answer) {
	for _, a := range group {
		if a.request == nil {
			continue
		}
		s.worker.Settled(a.request)
		s.drop(a.request)
	}
}

// settleSilently settles requests without an answer.
func (s *server) settleSilently(group []answer) bool {
	if group[0].request == nil {
		return true
	}
	if s.dropFields(group) != nil {
		return false
	}
	s.settled(group)
	return true
}

func (s *server) dropFields(group []answer) error {
	requests := make([]*hold.Request, len(group))
	about := make([]*request, len(group))
	for i, a := range group {
		requests[i], about[i] = a.request, a.of
	}
	var args []string
	for _, arg := range s.worker.DropArgs(requests) {
		args = append(args, argument(arg))
	}
	args[0] = strings.ToUpper(args[0])
	_, err := s.h.do(func() *call {
		return &call{from: s.process, node: s.h.redis, name: "drop", path: hold.Mending, command: args, about: about}
	}, s.h.readTimeout, s.h.retries)
	return err
}

// sendRemote claims requests whose answers go to another node of a Cluster, pushes the answers,
// and removes the claims.
func (s *server) sendRemote(group []answer) bool {
	requests := make([]*hold.Request, len(group))
	for i, a := range group {
		requests[i] = a.request
	}
	reply, err := s.send(s.worker.ClaimCommand(requests), group)
	if err != nil {
		return false
	}
	notHeld, _ := hold.NotHeld(reply)
	var ours []answer
	for i, a := range group {
		if !notHeld[i] {
			ours = append(ours, a)
		}
	}
	if len(ours) > 0 {
		s.push(ours)
		for s.dropFields(ours) != nil {
			s.sleep(s.h.pause())
		}
	}
	s.settled(group)
	return true
}

// push pushes answers whose requests are claimed, or dead. It gives up after four tries.
func (s *server) push(group []answer) {
	command := []string{"RPUSH", group[0].client.list}
	for _, a := range group {
		command = append(command, a.text)
	}
	for range 4 {
		_, err := s.h.do(func() *call {
			return &call{from: s.process, node: s.h.remote, name: "answer", path: hold.Mending, command: command}
		}, s.h.readTimeout, s.h.retries)
		if err == nil || isRefusal(err) {
			return
		}
		s.sleep(s.h.pause())
	}
}
