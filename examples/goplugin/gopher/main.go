// Command greeter is a plugin of a Python application: it implements the contract Greeter.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/golang/protobuf/descriptor"
	"github.com/golang/protobuf/proto"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pluginapi/greeterpb"
	"pluginhost/pluginpb"
)

// Each plugin of the application is started with this cookie, and with the major version of the API.
var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "PLUGINHOST_PLUGIN",
	MagicCookieValue: "pluginapi",
}

// gopher implements the contract, and what each program serves beside its contracts.
type gopher struct {
	logger hclog.Logger
	word   string
}

func (g *gopher) Greet(_ context.Context, request *greeterpb.GreetRequest) (*greeterpb.GreetResponse, error) {
	if request.Name == "" {
		// This code alone is a PluginError: the plugin's word to its caller.
		return nil, status.Error(codes.InvalidArgument, "whom shall I greet?")
	}
	return &greeterpb.GreetResponse{Result: fmt.Sprintf("%s, %s!", g.word, request.Name)}, nil
}

func (g *gopher) GetLang(context.Context, *greeterpb.GetLangRequest) (*greeterpb.GetLangResponse, error) {
	return &greeterpb.GetLangResponse{Result: "Deutsch"}, nil
}

// Describe hands on what the contract's file says of itself: the API, its version and its fingerprint.
func (g *gopher) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	file, _ := descriptor.ForMessage(&greeterpb.GreetRequest{})
	contract, err := proto.GetExtension(file.Options, pluginpb.E_Contract)
	if err != nil {
		return nil, err
	}
	contracts := []*pluginpb.Contract{contract.(*pluginpb.Contract)}
	return &pluginpb.DescribeResponse{Result: &pluginpb.Description{Contracts: contracts}}, nil
}

// Init takes the plugin's own table of the configuration.
func (g *gopher) Init(_ context.Context, request *pluginpb.InitRequest) (*pluginpb.InitResponse, error) {
	config := struct{ Word string }{g.word}
	if err := json.Unmarshal(request.Config, &config); err != nil {
		return nil, err
	}
	g.word = config.Word
	g.logger.Info("ready to greet", "name", request.Name, "word", g.word)
	return &pluginpb.InitResponse{}, nil
}

func (g *gopher) Validate(context.Context, *pluginpb.ValidateRequest) (*pluginpb.ValidateResponse, error) {
	return &pluginpb.ValidateResponse{}, nil
}

func (g *gopher) Shutdown(context.Context, *pluginpb.ShutdownRequest) (*pluginpb.ShutdownResponse, error) {
	return &pluginpb.ShutdownResponse{}, nil
}

// served puts it on go-plugin's server.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	gopher *gopher
}

func (s *served) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	greeterpb.RegisterGreeterServer(server, s.gopher)
	pluginpb.RegisterPluginServer(server, s.gopher)
	return nil
}

func (s *served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (interface{}, error) {
	return nil, nil // this program is no host
}

func main() {
	// Records in JSON keep their level and their fields on the way to the application's log.
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins:         plugin.PluginSet{"gopher": &served{gopher: &gopher{logger, "Grüß dich"}}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          logger,
	})
}
