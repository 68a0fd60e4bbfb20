"""What happens to the mesh, one change after the other.

Each step is a sentence, the change, and what shows in the objects that it has arrived.
"""

import json

from results import anything, has, lacks
from shop import HOST, REVIEWS, WEB, reviews, routes, service, subsets, to

EVERYTHING = {"route": [to()]}

ROUTES = [
    ("VirtualService: a new route", lambda c: routes(
        c, {"match": [{"uri": {"prefix": "/new"}}], "route": [to(HOST % "ratings")]}, EVERYTHING),
     has('"/new*"')),
    ("VirtualService: a header that matches", lambda c: routes(
        c, {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to(HOST % "ratings")]}, EVERYTHING),
     has("jason")),
    ("VirtualService: a query, a method and a regular expression", lambda c: routes(
        c, {"match": [{"uri": {"regex": "/r[0-9]+"}, "method": {"exact": "POST"},
                       "queryParams": {"debug": {"exact": "on"}}}], "route": [to(HOST % "ratings")]}, EVERYTHING),
     has("/r[0-9]+", "debug")),
    ("VirtualService: a fault", lambda c: routes(
        c, {"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 50}},
                      "delay": {"fixedDelay": "3s", "percentage": {"value": 10}}}, **EVERYTHING}),
     has("418")),
    ("VirtualService: a redirect", lambda c: routes(
        c, {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/moved", "redirectCode": 308}}, EVERYTHING),
     has("/moved")),
    ("VirtualService: a rewrite", lambda c: routes(
        c, {"match": [{"uri": {"prefix": "/api"}}], "rewrite": {"uri": "/inside", "authority": "other.example.org"},
            "route": [to()]}, EVERYTHING),
     has("/inside", "other.example.org")),
    ("VirtualService: headers, timeout, retries and a mirror", lambda c: routes(
        c, {"headers": {"request": {"set": {"x-step": "asked"}}, "response": {"remove": ["x-gone"]}},
            "timeout": "7s", "retries": {"attempts": 4, "retryOn": "5xx", "perTryTimeout": "2s"},
            "mirror": {"host": HOST % "ratings"}, **EVERYTHING}),
     has("x-step")),
    ("VirtualService: an answer of its own", lambda c: routes(
        c, {"directResponse": {"status": 299, "body": {"string": "hello"}}}),
     has("299")),
    ("VirtualService: cors", lambda c: routes(
        c, {"corsPolicy": {"allowOrigins": [{"exact": "https://shop.example.org"}], "allowMethods": ["GET"],
                           "maxAge": "24h"}, **EVERYTHING}),
     has("shop.example.org")),
    ("VirtualService: sourceLabels that are the proxy's", lambda c: routes(
        c, {"match": [{"sourceLabels": {"app": "web"}, "uri": {"prefix": "/mine"}}], "route": [to(HOST % "ratings")]},
        {"match": [{"sourceLabels": {"app": "else"}, "uri": {"prefix": "/theirs"}}], "route": [to()]}, EVERYTHING),
     has('"/mine*"')),
    ("VirtualService: removed", lambda c: c.remove("VirtualService", "reviews"),
     lacks('"/mine*"')),
]

RULES = [
    ("DestinationRule: subsets", subsets,
     anything),
    ("VirtualService: weights", lambda c: routes(c, {"route": [to(subset="v1", weight=73), to(subset="v2", weight=27)]}),
     has('"weight": 73', '"weight": 27', "|v2|")),
    ("VirtualService: other weights", lambda c: routes(
        c, {"route": [to(subset="v1", weight=9), to(subset="v2", weight=91)]}),
     has('"weight": 91')),
    ("DestinationRule: consistent hash by a header", lambda c: subsets(
        c, loadBalancer={"consistentHash": {"httpHeaderName": "x-user"}}),
     has("http_x_user")),
    ("DestinationRule: least request", lambda c: subsets(c, loadBalancer={"simple": "LEAST_REQUEST"}),
     lacks("http_x_user")),
    ("DestinationRule: round robin", lambda c: subsets(c, loadBalancer={"simple": "ROUND_ROBIN"}),
     anything),
    ("DestinationRule: connection pool", lambda c: subsets(
        c, connectionPool={"tcp": {"connectTimeout": "3s", "maxConnections": 77},
                           "http": {"http1MaxPendingRequests": 5, "maxRequestsPerConnection": 55}}),
     has('"requests": 55')),
    ("DestinationRule: outlier detection", lambda c: subsets(
        c, outlierDetection={"consecutive5xxErrors": 6, "interval": "10s", "baseEjectionTime": "30s"}),
     has('"http_failures": 6')),
    ("DestinationRule: mutual TLS", lambda c: subsets(c, tls={"mode": "ISTIO_MUTUAL"}),
     has("403")),
    ("VirtualService and DestinationRule: removed", lambda c: (
        c.remove("VirtualService", "reviews"), c.remove("DestinationRule", "reviews")),
     lacks("|v2|", '"weight": 91')),
]

SERVICES = [
    ("ServiceEntry: an endpoint more", lambda c: reviews(c, "10.2.0.33"), has("10.2.0.33")),
    ("ServiceEntry: two endpoints more", lambda c: reviews(c, "10.2.0.33", "10.2.0.34"), has("10.2.0.34")),
    ("ServiceEntry: endpoints less", reviews, lacks("10.2.0.33", "10.2.0.34")),
    ("ServiceEntry: scaled to zero", lambda c: service(c, "reviews", "10.10.0.2", 9080, []), lacks("10.2.0.1")),
    ("ServiceEntry: scaled up again", reviews, has("10.2.0.1")),
    ("ServiceEntry: a new service", lambda c: service(c, "cart", "10.10.0.5", 7070, [("10.5.0.1", {})]),
     has("10.5.0.1")),
    ("ServiceEntry: a new service of the same port", lambda c: service(c, "stock", "10.10.0.6", 9080, [("10.6.0.1", {})]),
     has("10.6.0.1")),
    ("ServiceEntry: a service of the protocol gRPC", lambda c: service(
        c, "rates", "10.10.0.7", 7080, [("10.7.0.1", {})], protocol="GRPC"),
     has("10.7.0.1")),
    ("ServiceEntry: another port", lambda c: service(c, "cart", "10.10.0.5", 7071, [("10.5.0.1", {})]), has("7071")),
    ("ServiceEntry: removed services", lambda c: [c.remove("ServiceEntry", name) for name in ("cart", "stock", "rates")],
     lacks("10.5.0.1", "10.6.0.1", "10.7.0.1")),
]

# Envoy refuses a key that is none.
KEYS = json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
                             "x": "dng22-b9Argt_OCIkyK86Qq1hIPYXWGHe8jpecnQSZ0", "y": "gepPqJEkAjU3BUbExYto30pqNOAG6UOWbMhsP8gyToE"}]})
OWN = {"matchLabels": {"app": "web"}}

SECURITY = [
    ("PeerAuthentication: STRICT", lambda c: c.put(
        "PeerAuthentication", "web", {"selector": OWN, "mtls": {"mode": "STRICT"}}),
     anything),
    ("PeerAuthentication: PERMISSIVE", lambda c: c.put(
        "PeerAuthentication", "web", {"selector": OWN, "mtls": {"mode": "PERMISSIVE"}}),
     anything),
    ("PeerAuthentication: STRICT but for one port", lambda c: c.put(
        "PeerAuthentication", "web", {"selector": OWN, "mtls": {"mode": "STRICT"},
                                      "portLevelMtls": {"9999": {"mode": "DISABLE"}}}),
     anything),
    ("PeerAuthentication: removed", lambda c: c.remove("PeerAuthentication", "web"),
     anything),
    ("AuthorizationPolicy: DENY a path", lambda c: c.put("AuthorizationPolicy", "deny", {
        "selector": OWN, "action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/secret*"]}}]}]}),
     has("/secret")),
    ("AuthorizationPolicy: ALLOW addresses and methods", lambda c: c.put("AuthorizationPolicy", "allow", {
        "selector": OWN, "action": "ALLOW", "rules": [
            {"from": [{"source": {"ipBlocks": ["10.99.0.0/16"]}}], "to": [{"operation": {"methods": ["PUT"]}}]}]}),
     has("10.99.0.0/16")),
    ("AuthorizationPolicy: nothing is allowed", lambda c: c.put("AuthorizationPolicy", "allow", {"selector": OWN}),
     lacks("10.99.0.0/16")),
    ("AuthorizationPolicy: removed", lambda c: [c.remove("AuthorizationPolicy", name) for name in ("allow", "deny")],
     lacks("/secret")),
    ("RequestAuthentication: a token is asked for", lambda c: c.put("RequestAuthentication", "jwt", {
        "selector": OWN, "jwtRules": [{"issuer": "interop", "jwks": KEYS}]}),
     anything),
    ("RequestAuthentication: removed", lambda c: c.remove("RequestAuthentication", "jwt"),
     anything),
]

SCOPE = [
    ("Sidecar: only one service is seen", lambda c: c.put("Sidecar", "web", {
        "workloadSelector": {"labels": {"app": "web"}}, "egress": [{"hosts": ["./" + HOST % "ratings"]}]}),
     lacks("10.2.0.1")),
    ("Sidecar: two services", lambda c: c.put("Sidecar", "web", {
        "workloadSelector": {"labels": {"app": "web"}},
        "egress": [{"hosts": ["./" + HOST % "ratings", "./" + REVIEWS]}]}),
     has("10.2.0.1")),
    ("Sidecar: where inbound connections go", lambda c: c.put("Sidecar", "web", {
        "workloadSelector": {"labels": {"app": "web"}}, "egress": [{"hosts": ["./*"]}],
        "ingress": [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:8888"}]}),
     has("8888")),
    ("Sidecar: removed", lambda c: c.remove("Sidecar", "web"), lacks("8888")),
]

SIDECAR = ROUTES + RULES + SERVICES + SECURITY + SCOPE


def gateway(configuration, *hosts, port=8080):
    """What the router listens for."""
    configuration.put("Gateway", "gateway", {"selector": {"istio": "gateway"}, "servers": [
        {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": list(hosts)}]})


def exposed(configuration, *http, host="shop.example.org"):
    """The routes of the gateway."""
    routes(configuration, *http, name="exposed", host=host, gateways=["gateway"])


ROUTER = [
    ("Gateway: a listener and a route", lambda c: (gateway(c, "*.example.org"), exposed(c, EVERYTHING)),
     has("shop.example.org")),
    ("VirtualService: a new route", lambda c: exposed(
        c, {"match": [{"uri": {"prefix": "/new"}}], "route": [to(HOST % "ratings")]}, EVERYTHING),
     has('"/new*"')),
    ("DestinationRule: subsets, and weights", lambda c: (
        subsets(c), exposed(c, {"route": [to(subset="v1", weight=73), to(subset="v2", weight=27)]})),
     has('"weight": 73')),
    ("ServiceEntry: an endpoint more", lambda c: reviews(c, "10.2.0.33"), has("10.2.0.33")),
    ("Gateway: another port", lambda c: gateway(c, "*.example.org", port=8081), has("8081")),
    ("VirtualService: another host", lambda c: exposed(c, EVERYTHING, host="other.example.org"),
     has("other.example.org")),
    ("VirtualService: removed", lambda c: c.remove("VirtualService", "exposed"), lacks("other.example.org")),
]
