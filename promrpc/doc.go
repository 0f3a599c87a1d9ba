// Package promrpc has Prometheus metrics for package jsonrpc2: what becomes of calls and
// notifications, how long they take, and what the transports count.
//
//	metrics := promrpc.NewClientMetrics("calc", nil)
//	registry.MustRegister(metrics)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Stats: &metrics.Stats, Begin: metrics.Begin})
//
// A server is measured in the same way, with [NewServerMetrics]. Several clients of one
// queue share one ClientMetrics, and several servers one ServerMetrics. Without Begin there
// are no durations, and what runs has no methods. A program with a Begin of its own joins
// both by jsonrpc2.JoinBegin, with that of the metrics first, which then measures what the
// other refuses, too.
//
// What a transport counts comes from its own collector. It takes the method Stats of any
// Conn, so this package needs no transport:
//
//	registry.MustRegister(promrpc.NewClientConnCollector("redis", "calc", conn.Stats))
//
// A scrape reads counters of the program. It asks no broker. More labels, or another prefix,
// are for prometheus.WrapRegistererWith and prometheus.WrapRegistererWithPrefix.
//
// # Metrics
//
// Each metric has the label queue. Those of a client:
//
//	jsonrpc2_client_requests_begun_total{kind}      call, notification
//	jsonrpc2_client_requests_ended_total{outcome}   see below
//	jsonrpc2_client_requests_in_flight
//	jsonrpc2_client_discarded_total{reason}         invalid, dropped
//	jsonrpc2_client_request_duration_seconds{method, outcome}
//
// Those of a server:
//
//	jsonrpc2_server_requests_begun_total{kind}      call, notification
//	jsonrpc2_server_requests_ended_total{outcome}   answered, error, done, expired
//	jsonrpc2_server_requests_in_flight
//	jsonrpc2_server_places                          how many may run at once
//	jsonrpc2_server_discarded_total{reason}         invalid, dropped
//	jsonrpc2_server_lost_replies_total
//	jsonrpc2_server_running_requests{method}
//	jsonrpc2_server_running_since_timestamp_seconds{method}
//	jsonrpc2_server_request_duration_seconds{method, outcome}
//
// Those of a transport, one for each of the counts in its Stats. END is client or server:
//
//	jsonrpc2_conn_END_requests_total{transport}, jsonrpc2_conn_END_reconnects_total{transport} …
//	jsonrpc2_conn_END_in_flight{transport}, jsonrpc2_conn_END_waiting{transport}, jsonrpc2_conn_END_bytes{transport}
//
// Each request is counted once when it begins and once when it ends. Until then it is in
// flight. Each scrape therefore fulfils this equation, and the same one for servers:
//
//	sum by (queue) (jsonrpc2_client_requests_begun_total)
//	  = sum by (queue) (jsonrpc2_client_requests_ended_total) + sum by (queue) (jsonrpc2_client_requests_in_flight)
//
// # Outcomes
//
// jsonrpc2.ClientCounts and jsonrpc2.ServerCounts tell what each outcome means. What went
// well is answered, a call with a result, and on a client sent, on a server done, for a
// notification. error is an error object, on a server also a notification that failed. A
// client also has timeout, canceled, unsent, reply_lost, unconfirmed, bad_reply,
// reply_too_large and closed.
//
// The durations have the same outcomes, but they split unsent by its sentinel: unavailable,
// no_server, overloaded or too_large. There, unsent means that the arguments can't be
// encoded, or that another Begin refused the request. A refusal with a *jsonrpc2.Error is
// error, one with a context.Canceled is canceled. A server measures no duration of a request
// that expired, and none of one whose method or params it refuses.
//
// The label method has at most MaxMethods values and "other". On a server only methods that
// it serves have a name of their own: strangers can't make more series.
//
// # Queries
//
// Requests a second, the share that fails, and the 99th percentile of how long each method
// takes:
//
//	sum by (queue) (rate(jsonrpc2_client_requests_ended_total[5m]))
//
//	sum by (queue) (rate(jsonrpc2_client_requests_ended_total{outcome!~"answered|sent"}[5m]))
//	  / sum by (queue) (rate(jsonrpc2_client_requests_ended_total[5m]))
//
//	histogram_quantile(0.99, sum by (method, le) (rate(jsonrpc2_server_request_duration_seconds_bucket[5m])))
//
// A series of the histogram begins with the first request of its method and outcome, and a
// rate does not see that one. The other counters are there from the beginning.
//
// # Alerts
//
// The file alerts.yml beside this package has rules for Prometheus: nothing is answered,
// requests are not sent, time out, fail or expire, answers are lost, connections fail again
// and again, all places of a server are taken, and a method hangs. They are tested with
// promtool, and with a Prometheus 2.42 that scrapes a program.
//
// # Costs
//
// Begin takes about 0.5 µs of a request, and one allocation, on either end. A scrape of a
// server with ten methods takes 0.15 ms. For each outcome that it has had, a method has a
// series for each bucket, and three more: 18 with the default buckets.
package promrpc
