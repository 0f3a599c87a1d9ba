// Package brokertest starts real, private brokers for tests and breaks them
// on request.
//
// A broker listens on a free loopback port, keeps its files in a temporary
// folder and ends with the test that started it, or with the test binary,
// however that ends. A [Proxy] in front of a broker makes the faults of a
// network; Kill, Stop and their kin make those of a process. A test that
// needs a broker whose program is not installed fails: it is never skipped.
//
// RabbitMQ takes seconds to start. Tests that do it no harm share one, see
// [SharedRabbitMQ]; their package's TestMain ends it:
//
//	func TestMain(m *testing.M) {
//		goleak.VerifyTestMain(brokertest.Main(m))
//	}
package brokertest
