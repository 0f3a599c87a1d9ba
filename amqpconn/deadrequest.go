package amqpconn

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// A death is what RabbitMQ notes when a queue gives a message up.
type death struct {
	time   time.Time // to the second
	reason string
}

// deathOf returns the last death of a message in a queue. Without one it returns the last
// death in any queue, and zero if there is none.
func deathOf(headers amqp.Table, queue string) (last death) {
	deaths, _ := headers["x-death"].([]any) // the last death comes first
	for _, entry := range deaths {
		table, ok := entry.(amqp.Table)
		if !ok {
			continue
		}
		var d death
		d.time, _ = table["time"].(time.Time)
		d.reason, _ = table["reason"].(string)
		if table["queue"] == queue {
			return d
		}
		if last == (death{}) {
			last = d
		}
	}
	return last
}

// deadRequestOf returns what is shown of a message that died in a queue.
func deadRequestOf(m *amqp.Delivery, queue string) jsonrpc2.DeadRequest {
	d := deathOf(m.Headers, queue)
	return jsonrpc2.DeadRequest{Time: d.time, Reason: d.reason, Request: m.Body, Handle: handleOf(m, queue)}
}

// handleOf returns the Handle of a message: a hash of what does not change from look to look.
func handleOf(m *amqp.Delivery, queue string) string {
	d := deathOf(m.Headers, queue)
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q %q %q %d ", m.MessageId, m.CorrelationId, m.ReplyTo, d.reason, d.time.Unix())
	hash.Write(m.Body)
	return hex.EncodeToString(hash.Sum(nil))
}

// freshOf returns a dead message as a new one, which has never died. It leaves out the user
// id: the broker refuses that of another user. It also leaves out the expiration: how long the
// caller still waits is not known.
func freshOf(m *amqp.Delivery) amqp.Publishing {
	return amqp.Publishing{
		Headers:         freshHeaders(m.Headers),
		ContentType:     m.ContentType,
		ContentEncoding: m.ContentEncoding,
		DeliveryMode:    m.DeliveryMode,
		Priority:        m.Priority,
		CorrelationId:   m.CorrelationId,
		ReplyTo:         m.ReplyTo,
		MessageId:       m.MessageId,
		Timestamp:       m.Timestamp,
		Type:            m.Type,
		AppId:           m.AppId,
		Body:            m.Body,
	}
}

// freshHeaders returns a copy of headers without those that the broker added when it counted
// deliveries and gave the message up. It also leaves out CC and BCC: these would route the
// message to more queues.
func freshHeaders(headers amqp.Table) amqp.Table {
	headers = maps.Clone(headers)
	maps.DeleteFunc(headers, func(name string, _ any) bool {
		switch name {
		case "x-death", "x-delivery-count", "CC", "BCC":
			return true
		}
		return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
	})
	return headers
}
