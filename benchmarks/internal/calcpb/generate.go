// Package calcpb has the service of package calc for gRPC. It is generated from calc.proto.
package calcpb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
