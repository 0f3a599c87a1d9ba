package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/micromessaging/jsonrpc2/benchmarks/internal/calcpb"
	"github.com/micromessaging/jsonrpc2/calc"
)

// grpcGo is gRPC-Go with its defaults: unary calls over one connection that all callers share.
var grpcGo = transport{"gRPC-Go", openGRPC}

// A grpcCalc serves calc.Calc through gRPC's generated code.
type grpcCalc struct{ calcpb.UnimplementedCalcServer }

func (grpcCalc) Add(_ context.Context, args *calcpb.Args) (*calcpb.Sum, error) {
	sum := new(calcpb.Sum)
	err := calc.Calc{}.Add(calc.Args{A: args.A, B: args.B}, &sum.Sum)
	return sum, err
}

func openGRPC(env *environment, t *target) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	calcpb.RegisterCalcServer(server, grpcCalc{})
	t.start(func() { _ = server.Serve(l) }, server.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	t.onClose(func() { _ = conn.Close() })
	client := calcpb.NewCalcClient(conn)
	t.call = func(int) error {
		sum, err := client.Add(env.ctx, &calcpb.Args{A: 1, B: 5.1})
		if err != nil {
			return err
		}
		return checkSum(sum.Sum)
	}
	return nil
}
