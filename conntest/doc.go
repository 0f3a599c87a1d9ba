// Package conntest has the tests that each [jsonrpc2.ClientConn] and [jsonrpc2.ServerConn]
// must pass: those of this module, and those that others write.
//
//	func TestConformance(t *testing.T) {
//		conntest.Run(t, func(t *testing.T) conntest.Transport {
//			address := newAddress() // that nothing else uses
//			return conntest.Transport{
//				Dial:      func(t testing.TB) jsonrpc2.ClientConn { … },
//				Listen:    func(t testing.TB) jsonrpc2.ServerConn { … },
//				Deadlines: true,
//			}
//		})
//	}
//
// A transport adds tests of its own: what happens when its broker dies, when it is slow,
// and when strangers write to it.
package conntest
