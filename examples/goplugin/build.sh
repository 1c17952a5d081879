#!/bin/sh
# Builds gopher/pluginhost_gopher/greeter and host/greet, with Go and go-plugin as Debian packages them.
set -eu
cd "$(dirname "$0")"

# The contract, as Go sees it.
pluginhost proto Plugin --output build/pluginhost/plugin.proto
pluginhost proto Greeter --output build/pluginapi/greeter.proto
mkdir -p build/src gopher/pluginhost_gopher
own=Mgoogle/protobuf/descriptor.proto=github.com/golang/protobuf/protoc-gen-go/descriptor # where it is in Debian
for file in pluginhost/plugin.proto pluginapi/greeter.proto; do
  protoc --proto_path=build --go_out=plugins=grpc,"$own":build/src "$file"
done

# Debian's packages are sources below /usr/share/gocode; there are no modules.
export GO111MODULE=off GOFLAGS= GOPATH="/usr/share/gocode:$PWD/build" CGO_ENABLED=0
go build -trimpath -ldflags='-s -w' -o gopher/pluginhost_gopher/greeter ./gopher
go build -trimpath -ldflags='-s -w' -o host/greet ./host
