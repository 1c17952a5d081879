// Package peer has what greeter-plugin and greeter-host share; peer.pb.go is made from peer.proto.
package peer

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Dispensed is the name under which the plugin stands in its set.
const Dispensed = "greeter"

const (
	CookieKey   = "GREETER_PLUGIN"
	CookieValue = "f4a51ac0-96c2-4d1e-8d0e-5ee6a3b3d0d1"
)

// Glue lets go-plugin serve a Peer, or hand out a client of one.
type Glue struct {
	plugin.NetRPCUnsupportedPlugin
	Serve func(broker *plugin.GRPCBroker) PeerServer
}

// Remote is what a host dispenses: the client, and the broker beside it.
type Remote struct {
	PeerClient
	Broker *plugin.GRPCBroker
}

func (g *Glue) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	RegisterPeerServer(server, g.Serve(broker))
	return nil
}

func (g *Glue) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return &Remote{NewPeerClient(conn), broker}, nil
}

// Sets returns a set of plugins for each version of a list such as "1,2".
func Sets(versions string, serve func(version int, broker *plugin.GRPCBroker) PeerServer) (map[int]plugin.PluginSet, error) {
	sets := map[int]plugin.PluginSet{}
	for _, each := range strings.Split(versions, ",") {
		version, err := strconv.Atoi(each)
		if err != nil {
			return nil, fmt.Errorf("-versions: %w", err)
		}
		sets[version] = plugin.PluginSet{Dispensed: &Glue{Serve: func(broker *plugin.GRPCBroker) PeerServer {
			return serve(version, broker)
		}}}
	}
	return sets, nil
}

// Greeter serves Aside.
type Greeter struct {
	Word    string
	Version int
}

func (g *Greeter) Greet(_ context.Context, in *Name) (*Greeting, error) {
	return &Greeting{Text: fmt.Sprintf("%s, %s!", g.Word, in.Name), Version: uint32(g.Version)}, nil
}
