// Command greeter-plugin is a go-plugin plugin that serves peer.Peer. Its host decides on AutoMTLS.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"peers/peer"
)

// served is one of these for each process.
type served struct {
	peer.Greeter
	broker *plugin.GRPCBroker
	logger hclog.Logger
	// The process's own: go-plugin puts pipes in place of os.Stdout and os.Stderr, which version 1.0.1 never reads.
	streams map[string]*os.File
}

func main() {
	versions := flag.String("versions", "1,2", "the protocol versions to serve")
	maxMessage := flag.Int("max-message", math.MaxInt32, "the longest message that is taken, in bytes; Go's own default is 4194304")
	netRPC := flag.Bool("net-rpc", false, "offer net/rpc instead of gRPC")
	stray := flag.String("stray", "", "write this to stdout before the handshake")
	flag.Parse()

	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	streams := map[string]*os.File{"stdout": os.Stdout, "stderr": os.Stderr}
	sets, err := peer.Sets(*versions, func(version int, broker *plugin.GRPCBroker) peer.PeerServer {
		return &served{peer.Greeter{Word: "Hello", Version: version}, broker, logger, streams}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	config := &plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: peer.CookieKey, MagicCookieValue: peer.CookieValue},
		VersionedPlugins: sets,
		Logger:           logger,
	}
	if !*netRPC {
		config.GRPCServer = func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(*maxMessage))...)
		}
	}
	if *stray != "" {
		fmt.Println(*stray)
	}
	plugin.Serve(config)
}

func (s *served) Echo(_ context.Context, in *peer.Data) (*peer.Data, error) {
	return in, nil
}

func (s *served) Count(in *peer.Number, stream peer.Peer_CountServer) error {
	for number := uint64(0); number < in.Number; number++ {
		if err := stream.Send(&peer.Number{Number: number}); err != nil {
			return err
		}
	}
	return nil
}

func (s *served) Measure(stream peer.Peer_MeasureServer) error {
	sum := uint64(0)
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&peer.Number{Number: sum})
		}
		if err != nil {
			return err
		}
		sum += uint64(len(in.Data))
	}
}

func (s *served) Chat(stream peer.Peer_ChatServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(in); err != nil {
			return err
		}
	}
}

func (s *served) CallBack(ctx context.Context, in *peer.Visit) (*peer.Greeting, error) {
	conn, err := s.broker.Dial(in.ServiceId)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return peer.NewAsideClient(conn).Greet(ctx, &peer.Name{Name: in.Name})
}

func (s *served) Open(context.Context, *peer.Empty) (*peer.Number, error) {
	id := s.broker.NextId()
	go s.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		peer.RegisterAsideServer(server, &peer.Greeter{Word: "Welcome", Version: s.Version})
		return server
	})
	return &peer.Number{Number: uint64(id)}, nil
}

func (s *served) Print(_ context.Context, in *peer.Output) (*peer.Empty, error) {
	stream, ok := s.streams[in.Stream]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "no stream %q", in.Stream)
	}
	for done := uint64(0); done < in.Bytes; done += 64 {
		if _, err := fmt.Fprintf(stream, "%063d\n", done/64); err != nil {
			return nil, err
		}
	}
	return &peer.Empty{}, nil
}

func (s *served) Log(_ context.Context, in *peer.Record) (*peer.Empty, error) {
	if in.Level == "raw" {
		fmt.Fprintln(s.streams["stderr"], in.Message)
		return &peer.Empty{}, nil
	}
	level := hclog.LevelFromString(strings.ToUpper(in.Level))
	if level == hclog.NoLevel {
		return nil, status.Errorf(codes.InvalidArgument, "no level %q", in.Level)
	}
	var fields []interface{}
	for key, value := range in.Fields {
		fields = append(fields, key, value)
	}
	s.logger.Log(level, in.Message, fields...)
	return &peer.Empty{}, nil
}

func (s *served) Sleep(ctx context.Context, in *peer.Pause) (*peer.Empty, error) {
	select {
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-time.After(time.Duration(in.Milliseconds) * time.Millisecond):
		return &peer.Empty{}, nil
	}
}

func (s *served) Fail(_ context.Context, in *peer.Failure) (*peer.Empty, error) {
	return nil, status.Error(codes.Code(in.Code), in.Message)
}

func (s *served) Crash(_ context.Context, in *peer.End) (*peer.Empty, error) {
	if in.Panic != "" {
		panic(in.Panic)
	}
	os.Exit(int(in.ExitCode))
	return nil, nil
}
