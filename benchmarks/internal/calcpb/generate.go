// Package calcpb is the service of package calc for gRPC, generated from calc.proto.
package calcpb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
