"""A configuration that is made up, large, and changes at random."""

import random

from results import has

TYPE = "type.googleapis.com/envoy.%s"
ADS = {"ads": {}, "resource_api_version": "V3"}


def has_mark(sign):
    """Whether a state has come."""
    return has("mark-%d.example.org" % sign, '"192.0.2.%d"' % sign)


class World:
    """Clusters with their endpoints, and hosts that each go to one cluster."""

    def __init__(self, seed, size):
        self.random = random.Random(seed)
        self.made = 0
        self.clusters, self.hosts = {}, {}
        for _ in range(size):
            self.add()

    def change(self, count):
        """Some of each: clusters that come, go and move, hosts that go and change their mind."""
        for _ in range(count):
            self.add()
            self._remove_cluster(self.random.choice(list(self.clusters)))
            self.clusters[self.random.choice(list(self.clusters))] = self.endpoints()
            self.hosts[self.random.choice(list(self.hosts))] = self.random.choice(list(self.clusters))
            self.hosts["host-%d-more.example.org" % self.made] = self.random.choice(list(self.clusters))
            del self.hosts[self.random.choice(list(self.hosts))]

    def add(self):
        """A cluster, and a host that goes there."""
        self.made += 1
        self.clusters["cluster-%d" % self.made] = self.endpoints()
        self.hosts["host-%d.example.org" % self.made] = "cluster-%d" % self.made

    def endpoints(self):
        return [["10.%d.%d.%d" % tuple(self.random.randrange(1, 255) for _ in range(3)), self.random.randrange(1, 65536),
                 self.random.randrange(1, 129)] for _ in range(self.random.randrange(6))]

    def _remove_cluster(self, name):
        del self.clusters[name]
        self.hosts = {host: cluster for host, cluster in self.hosts.items() if cluster != name}

    def mark(self, sign):
        """A host and an endpoint that show that this state has come."""
        self.hosts = {host: cluster for host, cluster in self.hosts.items() if not host.startswith("mark-")}
        self.hosts["mark-%d.example.org" % sign] = "cluster-mark"
        self.clusters["cluster-mark"] = [["192.0.2.%d" % sign, 80, 1]]

    def resources(self):
        return [listener(), {
            "@type": TYPE % "config.route.v3.RouteConfiguration", "name": "80",
            "virtual_hosts": [virtual_host(*item) for item in self.hosts.items()]},
            *map(cluster, self.clusters), *(assignment(*item) for item in self.clusters.items())]


def listener():
    router = {"name": "envoy.filters.http.router",
              "typed_config": {"@type": TYPE % "extensions.filters.http.router.v3.Router"}}
    manager = {"@type": TYPE % "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
               "stat_prefix": "http", "rds": {"route_config_name": "80", "config_source": ADS}, "http_filters": [router]}
    return {"@type": TYPE % "config.listener.v3.Listener", "name": "0.0.0.0_80",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def virtual_host(host, target):
    return {"name": host, "domains": [host], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target}}]}


def cluster(name):
    return {"@type": TYPE % "config.cluster.v3.Cluster", "name": name, "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": ADS}}


def assignment(name, endpoints):
    return {"@type": TYPE % "config.endpoint.v3.ClusterLoadAssignment", "cluster_name": name, "endpoints": [
        {"locality": {"zone": "a"}, "lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
             "load_balancing_weight": weight} for address, port, weight in endpoints]}]}
