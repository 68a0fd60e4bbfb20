"""What a proxy needs to be let in at istiod's secure port: a root to trust and a token, both made here."""

import base64
import http.server
import json
import subprocess
import threading
import time

from processes import folder

ISSUER = "https://interop.example.org"
AUDIENCE = "istio-ca"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Identity:
    """A certificate authority, and an issuer of tokens whose public key is served on loopback."""

    def __init__(self):
        self.authority = folder("authority")
        self.root = self.authority + "/root-cert.pem"
        self._make_authority()
        self.key = folder("issuer") + "/key.pem"
        openssl("genrsa", "-out", self.key, "2048")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def settings(self):
        """istiod's environment."""
        rule = {"issuer": ISSUER, "jwks_uri": "http://127.0.0.1:%d/" % self.server.server_port, "audiences": [AUDIENCE]}
        return {"ROOT_CA_DIR": self.authority, "JWT_RULE": json.dumps(rule)}

    def token(self, node, audience=AUDIENCE, seconds=3600):
        """What Kubernetes would give the pod of the node."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": [audience], "sub": "system:serviceaccount:%s:default" % node.namespace,
                  "iat": now, "exp": now + seconds}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "interop"}, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(),
                                   capture_output=True, check=True).stdout
        return signed + "." + encoded(signature)

    def secrets(self, node):
        """What the agent beside Envoy serves, by SDS."""
        path = folder("workload")
        with open(path + "/extensions", "w") as file:
            file.write("subjectAltName=critical,URI:spiffe://cluster.local/ns/%s/sa/default\n"
                       "extendedKeyUsage=serverAuth,clientAuth\n" % node.namespace)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/", "-keyout", path + "/key", "-out", path + "/request")
        openssl("x509", "-req", "-days", "1", "-in", path + "/request", "-CA", self.authority + "/ca-cert.pem",
                "-CAkey", self.authority + "/ca-key.pem", "-CAcreateserial", "-extfile", path + "/extensions",
                "-out", path + "/certificate")
        chain = content(path + "/certificate") + content(self.authority + "/cert-chain.pem")
        return [
            {"@type": SECRET, "name": "default", "tls_certificate": {
                "certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": content(path + "/key")}}},
            {"@type": SECRET, "name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": content(self.root)}}}]

    def _make_authority(self):
        """A root and an intermediate, under the names of Istio's plugged-in certificates."""
        def path(name):
            return "%s/%s.pem" % (self.authority, name)

        with open(path("extensions"), "w") as file:
            file.write("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/O=interop/CN=root",
                "-keyout", path("root-key"), "-out", path("root-cert"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=interop/CN=intermediate",
                "-keyout", path("ca-key"), "-out", path("ca-request"))
        openssl("x509", "-req", "-days", "1", "-in", path("ca-request"), "-CA", path("root-cert"),
                "-CAkey", path("root-key"), "-CAcreateserial", "-extfile", path("extensions"), "-out", path("ca-cert"))
        with open(path("cert-chain"), "w") as chain:
            chain.write(content(path("ca-cert")) + content(path("root-cert")))

    def _handler(self):
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").strip().removeprefix("Modulus=")
        keys = json.dumps({"keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "interop", "e": encoded(b"\x01\x00\x01"),
            "n": encoded(bytes.fromhex(modulus))}]}).encode()

        class Keys(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(keys)))
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_):
                pass
        return Keys


def content(path):
    with open(path) as file:
        return file.read()


def encoded(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout
