// Package conntest is the suite that every [jsonrpc2.ClientConn] and
// [jsonrpc2.ServerConn] passes: those of this module, and those that others write.
//
//	func TestConformance(t *testing.T) {
//		conntest.Run(t, func(t *testing.T) conntest.Transport {
//			subject := newSubject() // that nothing else uses
//			return conntest.Transport{
//				Dial:   func(t testing.TB) jsonrpc2.ClientConn { … },
//				Listen: func(t testing.TB) jsonrpc2.ServerConn { … },
//				Deadlines: true,
//			}
//		})
//	}
//
// The tests of a transport's own come on top: what happens when its broker dies, when
// strangers write to it, when it is slow.
package conntest
