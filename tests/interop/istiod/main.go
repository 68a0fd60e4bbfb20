// Command istiod is Istio's control plane, configured by files alone.
//
// Istio's own command does not start without Kubernetes: its service entries wait for namespaces. Here its server is given
// Istio's in-memory client, which knows three empty namespaces.
package main

import (
	"flag"
	"log"
	"reflect"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"istio.io/istio/pilot/pkg/bootstrap"
	"istio.io/istio/pkg/cmd"
	"istio.io/istio/pkg/ctrlz"
	"istio.io/istio/pkg/kube"
)

func main() {
	configuration := flag.String("configuration", "", "the folder of Istio's resources")
	mesh := flag.String("mesh", "", "the file of the mesh's settings")
	xds := flag.String("xds", "127.0.0.1:15010", "where ADS is served")
	secure := flag.String("secure", "127.0.0.1:15012", "where ADS and certificates are served with TLS")
	http := flag.String("http", "127.0.0.1:15080", "where it can be looked into")
	flag.Parse()

	arguments := bootstrap.NewPilotArgs(func(arguments *bootstrap.PilotArgs) {
		arguments.MeshConfigFile = *mesh
		arguments.RegistryOptions.FileDir = *configuration
		arguments.RegistryOptions.KubeOptions.DomainSuffix = "cluster.local"
		arguments.ServerOptions = bootstrap.DiscoveryServerOptions{
			HTTPAddr: *http, GRPCAddr: *xds, SecureGRPCAddr: *secure, MonitoringAddr: "127.0.0.1:0",
			TLSOptions: bootstrap.TLSOptions{TLSMinVersion: bootstrap.TLSMinVersion1_2},
		}
		arguments.CtrlZOptions = ctrlz.DefaultOptions()
	})
	if err := arguments.Complete(); err != nil {
		log.Fatal(err)
	}
	server, err := bootstrap.NewServer(arguments, withoutKubernetes)
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan struct{})
	if err := server.Start(stop); err != nil {
		log.Fatal(err)
	}
	cmd.WaitSignal(stop)
}

// withoutKubernetes sets the server's client, for which there is no other way from outside its package.
func withoutKubernetes(server *bootstrap.Server) {
	var namespaces []runtime.Object
	for _, name := range []string{"default", "istio-system", "shop"} {
		namespaces = append(namespaces, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name}})
	}
	field := reflect.ValueOf(server).Elem().FieldByName("kubeClient")
	client := reflect.ValueOf(kube.NewFakeClient(namespaces...))
	reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Set(client)
}
