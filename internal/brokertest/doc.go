// Package brokertest starts real, private brokers for tests and breaks them
// on request.
//
// A broker listens on a free loopback port and keeps its files in a temporary folder. It ends
// with the test that started it. On Linux it also ends with the test binary, even if that is
// killed. A test fails, and is never skipped, if the program of its broker is not installed.
//
//	StartRedis, StartRedisCluster, StartSentinel    Redis
//	StartRabbitMQ, StartRabbitMQCluster             RabbitMQ
//	StartProxy                                      a network with faults, before a broker
//	StartProgram, Supervise                         processes of the test binary itself
//
// Kill ends a process without warning, Stop suspends it, and Cont resumes it.
//
// RabbitMQ takes seconds to start. Tests that make no faults share one node, see
// [SharedRabbitMQ]. The TestMain of their package ends it:
//
//	func TestMain(m *testing.M) {
//		goleak.VerifyTestMain(brokertest.Main(m))
//	}
package brokertest
