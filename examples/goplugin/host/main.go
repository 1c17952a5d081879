// Command greet is a host in Go whose plugins are in Python: greet [-v] NAME PLUGIN...
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pluginapi/greeterpb"
)

var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "GREETER_PLUGIN",
	MagicCookieValue: "hello",
}

// greeter is one plugin of the several that a process serves.
type greeter struct {
	plugin.NetRPCUnsupportedPlugin
	name   string
	client greeterpb.GreeterClient
}

func (g *greeter) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return fmt.Errorf("this program is no plugin")
}

func (g *greeter) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return &greeter{name: g.name, client: greeterpb.NewGreeterClient(conn)}, nil
}

// Greet says which plugin is meant; without it, that would be the first.
func (g *greeter) Greet(ctx context.Context, name string) (string, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "pluginhost-plugin", g.name)
	response, err := g.client.Greet(ctx, &greeterpb.GreetRequest{Name: name})
	if err != nil {
		return "", err
	}
	return response.Result, nil
}

func main() {
	verbose := flag.Bool("v", false, "show the log, and what the plugins log")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: greet [-v] NAME PLUGIN...")
		os.Exit(2)
	}
	level := hclog.Warn
	if *verbose {
		level = hclog.Debug
	}
	if err := greet(flag.Arg(0), flag.Args()[1:], level); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func greet(name string, plugins []string, level hclog.Level) error {
	set := plugin.PluginSet{}
	for _, each := range plugins {
		set[each] = &greeter{name: each}
	}
	cookie := []string{"--cookie-key", handshake.MagicCookieKey, "--cookie-value", handshake.MagicCookieValue}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          set,
		Cmd:              exec.Command("pluginhost", append(append([]string{"serve"}, plugins...), cookie...)...),
		AutoMTLS:         true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: level, Output: os.Stderr}),
	})
	defer client.Kill()
	connection, err := client.Client()
	if err != nil {
		return err
	}
	for _, each := range plugins {
		dispensed, err := connection.Dispense(each)
		if err != nil {
			return err
		}
		greeting, err := dispensed.(*greeter).Greet(context.Background(), name)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", each, greeting)
	}
	return nil
}
