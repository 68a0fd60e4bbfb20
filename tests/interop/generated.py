"""A configuration that is made up, large, and changes at random."""

import random

from results import has

TYPE = "type.googleapis.com/envoy.%s"
# Without DRAINING: Envoy dumps it as UNHEALTHY, which counts where its load goes and DRAINING does not.
HEALTH = ["HEALTHY"] * 5 + ["UNKNOWN", "UNHEALTHY", "TIMEOUT", "DEGRADED"]
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
        """Up to four localities of up to three endpoints: address, port, weight, health."""
        return [(self.random.randrange(1, 129), [self._endpoint() for _ in range(self.random.randrange(4))])
                for _ in range(self.random.randrange(5))]

    def _endpoint(self):
        address = "10.%d.%d.%d" % tuple(self.random.randrange(1, 255) for _ in range(3))
        return address, self.random.randrange(1, 65536), self.random.randrange(1, 129), self.random.choice(HEALTH)

    def _remove_cluster(self, name):
        del self.clusters[name]
        self.hosts = {host: cluster for host, cluster in self.hosts.items() if cluster != name}

    def mark(self, sign):
        """A host and an endpoint that show that this state has come."""
        self.hosts = {host: cluster for host, cluster in self.hosts.items() if not host.startswith("mark-")}
        self.hosts["mark-%d.example.org" % sign] = "cluster-mark"
        self.clusters["cluster-mark"] = [(1, [("192.0.2.%d" % sign, 80, 1, "HEALTHY")])]

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
    """One of two weighs its localities."""
    weighted = {"common_lb_config": {"locality_weighted_lb_config": {}}} if name.endswith(tuple("13579")) else {}
    return {"@type": TYPE % "config.cluster.v3.Cluster", "name": name, "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": ADS}, **weighted}


def assignment(name, localities):
    """Two localities to a priority."""
    return {"@type": TYPE % "config.endpoint.v3.ClusterLoadAssignment", "cluster_name": name, "endpoints": [
        {"locality": {"zone": "zone-%d" % number}, "priority": number // 2, "load_balancing_weight": weight,
         "lb_endpoints": [endpoint(*each) for each in endpoints]}
        for number, (weight, endpoints) in enumerate(localities)]}


def endpoint(address, port, weight, health):
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
            "load_balancing_weight": weight, "health_status": health}
