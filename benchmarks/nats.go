package main

import (
	"crypto/rand"
	"encoding/json"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// natsMicro is NATS's own request and reply: a service of its package micro, which nats.Conn's
// requests call, with JSON at both ends.
var natsMicro = transport{"NATS micro", openNATSMicro}

// A natsSum is what the endpoint answers with.
type natsSum struct {
	Result float64 `json:"result"`
}

func openNATSMicro(env *environment, t *target) error {
	there, err := dialNATS(env, t)
	if err != nil {
		return err
	}
	service, err := micro.AddService(there, micro.Config{Name: "Calc", Version: "1.0.0"})
	if err != nil {
		return err
	}
	t.onClose(func() { _ = service.Stop() })
	group := "benchmarks-" + rand.Text()
	if err := service.AddGroup(group).AddEndpoint("add", micro.HandlerFunc(addForNATS)); err != nil {
		return err
	}
	if err := there.Flush(); err != nil { // else the first request could find no service
		return err
	}
	here, err := dialNATS(env, t)
	if err != nil {
		return err
	}
	t.call = func(int) error {
		text, err := json.Marshal(loopParams{1, 5.1})
		if err != nil {
			return err
		}
		answer, err := here.RequestWithContext(env.ctx, group+".add", text)
		if err != nil {
			return err
		}
		var sum natsSum
		if err := json.Unmarshal(answer.Data, &sum); err != nil {
			return err
		}
		return checkSum(sum.Result)
	}
	return nil
}

// addForNATS answers a request. micro runs the requests of an endpoint one at a time.
func addForNATS(request micro.Request) {
	var params loopParams
	if err := json.Unmarshal(request.Data(), &params); err != nil {
		_ = request.Error("400", err.Error(), nil)
		return
	}
	_ = request.RespondJSON(natsSum{params.A + params.B}) // without an answer the caller fails
}

func dialNATS(env *environment, t *target) (*nats.Conn, error) {
	url, err := env.natsURL()
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect(url)
	if err == nil {
		t.onClose(conn.Close)
	}
	return conn, err
}
