"""The real Envoy and the product side by side: one node, one control plane.

What Envoy has accepted, translated by the `translate` command, is what the product must serve.
"""

import difflib
import json
import os
import subprocess
import time

from processes import ENVIRONMENT, Process, TimedOut, all_run, ask, folder, wait_for
from served import Mirror, everything

APISIX_MESH = os.environ["APISIX_MESH"]
ENVOY = os.environ["ENVOY"]
DEADLINE = 30

# The runner has a network namespace of its own, so every port is free.
ADMIN, ETCD, SDS = 9901, 2379, 18100

# How xDS is asked for: Envoy's name for it, and the product's flags.
MODES = {"sotw": ("GRPC", ["--xds-mode", "sotw"]), "delta": ("DELTA_GRPC", ["--xds-mode", "delta"])}


class Node:
    """Who both of them say they are."""

    def __init__(self, kind, ip, name, namespace, labels):
        self.kind, self.ip, self.name, self.namespace = kind, ip, name, namespace
        self.metadata = {"NAMESPACE": namespace, "INSTANCE_IPS": ip, "LABELS": labels, "CLUSTER_ID": "Kubernetes",
                         "ISTIO_VERSION": "1.31.0", "INTERCEPTION_MODE": "REDIRECT"}

    def envoy(self):
        identity = "%s~%s~%s.%s~%s.svc.cluster.local" % (self.kind, self.ip, self.name, self.namespace, self.namespace)
        return {"id": identity, "cluster": "interop", "metadata": self.metadata}

    def flags(self):
        return ["--node-type", self.kind, "--node-ip", self.ip, "--pod-name", self.name,
                "--pod-namespace", self.namespace, "--node-metadata", json.dumps(self.metadata)]


class Pair:
    """Both of them at work. With an identity they come by the secure port, the product with the token in a file."""

    def __init__(self, node, xds_port, mode, secure_port=None, identity=None):
        control_plane, metadata = server("control-plane", xds_port), []
        way = ["--xds", "grpc://127.0.0.1:%d" % xds_port]
        self.token_file = folder("token") + "/token"
        if identity:
            control_plane = {**server("control-plane", secure_port), **trusting(identity.root)}
            metadata = [{"key": "authorization", "value": "Bearer " + identity.token(node)}]
            way = ["--xds", "grpcs://127.0.0.1:%d" % secure_port, "--xds-ca-file", identity.root,
                   "--xds-token-file", self.token_file, "--workload-certificates", "true"]
        self.envoy = Process("envoy", [
            ENVOY, "-c", self._bootstrap(node, control_plane, metadata, mode), "--concurrency", "1", "--log-level", "warning",
            "--use-dynamic-base-id"])
        self.product = Process("apisix-mesh", [
            APISIX_MESH, "run", *way, "--etcd-listen", "127.0.0.1:%d" % ETCD, *node.flags(), *MODES[mode][1]])
        self.folder = folder("dump")
        self.mirror = None
        self.before = {}

    def _bootstrap(self, node, control_plane, metadata, mode):
        source = {"ads": {}, "resource_api_version": "V3"}
        path = folder("bootstrap") + "/envoy.json"
        with open(path, "w") as file:
            json.dump({
                "node": node.envoy(),
                "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN}}},
                "static_resources": {"clusters": [control_plane, server("sds-grpc", SDS)]},
                "dynamic_resources": {
                    "ads_config": {
                        "api_type": MODES[mode][0], "transport_api_version": "V3",
                        "grpc_services": [{
                            "envoy_grpc": {"cluster_name": "control-plane"}, "initial_metadata": metadata}]},
                    "cds_config": source, "lds_config": source},
            }, file)
        return path

    def expected(self):
        """The objects for what Envoy has accepted."""
        status, dump = ask(ADMIN, "GET", "/config_dump?include_eds")
        if status != 200:
            return {}
        path = self.folder + "/dump.json"
        with open(path, "w") as file:
            json.dump({"configs": received(json.loads(dump))}, file)
        done = subprocess.run([APISIX_MESH, "translate", path], env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError("translate: " + done.stderr)
        return json.loads(done.stdout)["objects"]

    def served(self):
        """The objects that the product serves."""
        answer = everything(ETCD)
        return answer[0] if answer else {}

    def show(self, token):
        """Gives the product another token, as the kubelet does: all of it at once."""
        with open(self.token_file + ".new", "w") as file:
            file.write(token)
        os.rename(self.token_file + ".new", self.token_file)

    def told(self, words):
        """Whether the product has logged this."""
        with open(self.product.log) as log:
            return words in log.read()

    def refused(self):
        """What Envoy did not accept, as its log tells it."""
        with open(self.envoy.log, errors="replace") as log:
            return [line.strip() for line in log if "rejected" in line]

    def settle(self, arrived, seconds=DEADLINE):
        """Waits until both have what a step brings, which is no longer what was before it, and have the same.

        In: whether given objects show the step. Out: the seconds after which the product and Envoy came to what they
        have now, and the difference that is left.
        """
        product, envoy = Side(self.served), Side(self.expected)

        def settled():
            all_run()
            product.look()
            envoy.look()
            same = self._watched() == product.objects == envoy.objects != self.before
            return same and arrived(product.objects)

        difference = []
        try:
            wait_for("both", settled, seconds)
        except TimedOut:
            difference = differences(product.objects, envoy.objects)
            difference += ["list and watch:" + line for line in differences(self._watched(), product.objects)]
            difference = difference or ["both are alike, but the step is not there"]
            difference += self.refused()[-3:]
        self.before = product.objects
        return (product.seconds, envoy.seconds), difference

    def _watched(self):
        """What the one watch, opened at the first state, makes of it."""
        if self.mirror is None and everything(ETCD):
            self.mirror = Mirror(ETCD)
        return self.mirror.current() if self.mirror else {}


def server(name, port):
    """A cluster of one gRPC server on loopback; its silence is noticed by a ping."""
    http2 = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
             "explicit_http_config": {"http2_protocol_options": {
                 "connection_keepalive": {"interval": "30s", "timeout": "10s"}}}}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address}}]}]}}


def trusting(root):
    """TLS to a server that a root vouches for."""
    context = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
               "common_tls_context": {"validation_context": {"trusted_ca": {"filename": root}}}}
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


class Side:
    """What one of them has, and when it came to that."""

    def __init__(self, read):
        self.read = read
        self.started = time.monotonic()
        self.objects, self.seconds = None, 0

    def look(self):
        objects = self.read()
        if objects != self.objects:
            self.objects, self.seconds = objects, time.monotonic() - self.started


def received(dump):
    """Of Envoy's dump what the control plane sent as resources of their own.

    Left out are the bootstrap's clusters, routes that stand in their listener as well, and, of clusters that name their
    endpoints themselves, the addresses that Envoy's DNS found. A cluster that warms is not in force.
    """
    own = ("static_", "bootstrap", "dynamic_warming_clusters")
    return [{name: part for name, part in config.items() if not name.startswith(own)} for config in dump["configs"]]


def differences(served, expected):
    """The first lines that differ: + is served and should not be, - should be and is not."""
    lines = []
    for key in sorted(served.keys() | expected.keys()):
        pair = [json.dumps(side.get(key), indent=1, sort_keys=True).splitlines() for side in (expected, served)]
        if pair[0] != pair[1]:
            changed = [line for line in difflib.unified_diff(*pair, n=0, lineterm="") if line[:2] not in ("--", "++", "@@")]
            lines += [key] + changed[:8]
    return lines[:40]
