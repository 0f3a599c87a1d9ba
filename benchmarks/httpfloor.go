package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

const (
	httpFloorPlaces = jsonrpc2.DefaultMaxInFlight
	httpFloorPosts  = httpFloorPlaces * 5 / 4 // as many as the client of httpconn sends at once
)

// httpFloor is net/http alone, with methods that take so long: both bodies are constant texts,
// nothing is encoded or decoded. It has as many places and connections as ours.
func httpFloor(takes time.Duration) opener {
	return func(_ *environment, t *target) error {
		const request = `{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[{"A":1,"B":5.1}]}`
		places := make(chan struct{}, httpFloorPlaces)
		url, err := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			places <- struct{}{}
			time.Sleep(takes)
			<-places
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":6.1}`)
		}))
		if err != nil {
			return err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, httpFloorPosts
		t.onClose(transport.CloseIdleConnections)
		posts := make(chan struct{}, httpFloorPosts)
		t.call = func(int) error {
			posts <- struct{}{}
			defer func() { <-posts }()
			r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(request))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/json")
			response, err := transport.RoundTrip(r)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("status %s", response.Status)
			}
			_, err = io.ReadAll(response.Body)
			return err
		}
		return nil
	}
}
