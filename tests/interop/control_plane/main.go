// Command control_plane serves what it is told over ADS and SDS, state of the world and delta, with Envoy's own library for
// control planes: PUT /resources takes a DiscoveryResponse as JSON and makes its resources the whole configuration of
// every node.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// everybody is the one node that all nodes are.
type everybody struct{}

func (everybody) ID(*core.Node) string { return "everybody" }

func main() {
	xds := flag.String("xds", "127.0.0.1:18000", "where ADS is served")
	ads := flag.Bool("ads", true, "wait until all that there is of a type is asked for, as ADS has it")
	control := flag.String("control", "127.0.0.1:18001", "where the configuration is put")
	flag.Parse()

	snapshots := cache.NewSnapshotCache(*ads, everybody{}, nil)
	go serveADS(*xds, snapshots)

	// A version of a former life would be taken for known.
	life, version := time.Now().UnixNano(), 0
	http.HandleFunc("PUT /resources", func(answer http.ResponseWriter, request *http.Request) {
		version++
		if err := replace(snapshots, fmt.Sprintf("%d.%d", life, version), request.Body); err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
		}
	})
	log.Fatal(http.ListenAndServe(*control, nil))
}

func serveADS(address string, snapshots cache.SnapshotCache) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	xdsServer := server.NewServer(context.Background(), snapshots, nil)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, xdsServer)
	secret.RegisterSecretDiscoveryServiceServer(grpcServer, xdsServer)
	log.Fatal(grpcServer.Serve(listener))
}

// replace makes the resources in body the snapshot; one that contradicts itself is refused.
func replace(snapshots cache.SnapshotCache, version string, body io.Reader) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var response discovery.DiscoveryResponse
	if err := protojson.Unmarshal(text, &response); err != nil {
		return err
	}
	resources := map[resource.Type][]types.Resource{
		resource.ClusterType: nil, resource.EndpointType: nil, resource.ListenerType: nil, resource.RouteType: nil,
		resource.SecretType: nil,
	}
	for _, wrapped := range response.Resources {
		message, err := wrapped.UnmarshalNew()
		if err != nil {
			return err
		}
		resources[wrapped.TypeUrl] = append(resources[wrapped.TypeUrl], message)
	}
	snapshot, err := cache.NewSnapshot(version, resources)
	if err != nil {
		return err
	}
	if err := snapshot.Consistent(); err != nil {
		return err
	}
	return snapshots.SetSnapshot(context.Background(), everybody{}.ID(nil), snapshot)
}
