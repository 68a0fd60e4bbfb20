"""The real istiod, without Kubernetes: its configuration is a folder of files, its ports are on loopback."""

import json
import os

from processes import Process, folder

ISTIOD = os.environ["ISTIOD"]
XDS, SECURE_XDS = 15010, 15012

MESH = {
    "trustDomain": "cluster.local",
    "rootNamespace": "istio-system",
    # Certificates come from an agent beside Envoy, which is not here: with mutual TLS its clusters would stay warming.
    "enableAutoMtls": False,
    "defaultConfig": {"discoveryAddress": "127.0.0.1:%d" % SECURE_XDS},
}

SETTINGS = {
    # Filters that only Istio's own build of Envoy has.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
}

VERSIONS = {"networking": "networking.istio.io/v1", "security": "security.istio.io/v1"}
SECURITY = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")


class Configuration:
    """Istio's resources as files, each changed at once."""

    def __init__(self):
        self.folder = folder("istio")
        self.beside = folder("istio-new")

    def put(self, kind, name, spec, namespace="shop"):
        """Makes or replaces a resource; JSON is YAML too."""
        group = "security" if kind in SECURITY else "networking"
        resource = {"apiVersion": VERSIONS[group], "kind": kind, "metadata": {"name": name, "namespace": namespace},
                    "spec": spec}
        new = "%s/%s" % (self.beside, os.path.basename(self._path(kind, name)))
        with open(new, "w") as file:
            json.dump(resource, file)
        os.rename(new, self._path(kind, name))

    def remove(self, kind, name):
        os.remove(self._path(kind, name))

    def _path(self, kind, name):
        return "%s/%s-%s.yaml" % (self.folder, kind, name)


def start(configuration, mesh=MESH, settings=()):
    """istiod over the configuration; nothing tells when it is ready but a stream that it answers."""
    path = folder("mesh") + "/mesh.yaml"
    with open(path, "w") as file:
        json.dump(mesh, file)
    return Process("istiod", [
        ISTIOD, "-configuration", configuration.folder, "-mesh", path, "-xds", "127.0.0.1:%d" % XDS,
        "-secure", "127.0.0.1:%d" % SECURE_XDS,
    ], {**SETTINGS, **dict(settings)})
