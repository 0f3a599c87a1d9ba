// Package spectest holds every transport to the batch examples of the JSON-RPC 2.0
// specification, and batches that form by themselves to their answers. It has
// nothing but tests.
package spectest
