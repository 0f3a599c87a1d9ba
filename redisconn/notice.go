package redisconn

import (
	"encoding/json"
	"fmt"

	"github.com/micromessaging/jsonrpc2"
)

// undeliverable returns the error for the codec about an answer in whose place a notice was sent.
func undeliverable(p push, err error) error {
	return fmt.Errorf("redisconn: answer of %d bytes to %q can't be delivered: %w", len(p.body), p.list, err)
}

// noticeOf returns the notice to push in place of an answer that can't be delivered: an
// error for each call that the answer is for.
func noticeOf(p push, err error) push {
	p.body = noticeBody(p.body, err)
	p.notice = true
	return p
}

// noticeBody returns the error responses to the ids in an answer, or in each item of a batch.
func noticeBody(body []byte, err error) []byte {
	type response struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   *jsonrpc2.Error `json:"error"`
	}
	var items []response
	batch := json.Unmarshal(body, &items) == nil
	if !batch {
		items = make([]response, 1)
		_ = json.Unmarshal(body, &items[0]) // our codec wrote it
	}
	for i := range items {
		items[i].Version = "2.0"
		items[i].Error = &jsonrpc2.Error{
			Code:    jsonrpc2.CodeInternal,
			Message: fmt.Sprintf("answer can't be delivered: %d bytes: %v", len(body), err),
		}
	}
	var notice []byte
	if batch {
		notice, _ = json.Marshal(items)
	} else {
		notice, _ = json.Marshal(items[0])
	}
	return notice
}
