"""A small mesh: the pod `web`, which the proxy stands beside, and the services that it calls."""

from pair import Node

WEB = Node("sidecar", "10.1.0.1", "web-1", "shop", {"app": "web", "version": "v1"})
GATEWAY = Node("router", "10.1.0.9", "gateway-1", "shop", {"istio": "gateway"})

HOST = "%s.shop.svc.cluster.local"
REVIEWS = HOST % "reviews"


def service(configuration, name, address, port, endpoints, protocol="HTTP"):
    """A service of the mesh; its endpoints are pairs of address and labels."""
    configuration.put("ServiceEntry", name, {
        "hosts": [HOST % name], "addresses": [address], "location": "MESH_INTERNAL", "resolution": "STATIC",
        "ports": [{"number": port, "name": protocol.lower(), "protocol": protocol}],
        "endpoints": [{"address": ip, "labels": {"app": name, **labels}} for ip, labels in endpoints]})


def reviews(configuration, *more):
    """Two versions, and further endpoints."""
    service(configuration, "reviews", "10.10.0.2", 9080, [
        ("10.2.0.1", {"version": "v1"}), ("10.2.0.2", {"version": "v2"}),
        *((ip, {"version": "v1"}) for ip in more)])


def routes(configuration, *http, name="reviews", host=REVIEWS, **more):
    """The routes of a VirtualService."""
    configuration.put("VirtualService", name, {"hosts": [host], "http": list(http), **more})


def to(host=REVIEWS, subset=None, **more):
    """A destination of a route."""
    return {"destination": {"host": host, **({"subset": subset} if subset else {})}, **more}


def subsets(configuration, **policy):
    """reviews has a subset for each version."""
    configuration.put("DestinationRule", "reviews", {
        "host": REVIEWS, **({"trafficPolicy": policy} if policy else {}),
        "subsets": [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]})


def begin(configuration):
    """The mesh before the first step."""
    service(configuration, "web", "10.10.0.1", 8080, [(WEB.ip, {"version": "v1"})])
    reviews(configuration)
    service(configuration, "ratings", "10.10.0.3", 9080, [("10.3.0.1", {})])
    service(configuration, "mysql", "10.10.0.4", 3306, [("10.4.0.1", {})], protocol="TCP")
    configuration.put("ServiceEntry", "outside", {
        "hosts": ["outside.example.org"], "location": "MESH_EXTERNAL", "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]})
