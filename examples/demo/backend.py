"""The demo's application: answers each GET with its name, the path and the Host it was asked for.

Usage: backend.py NAME ADDRESS PORT
"""

import http.server
import socketserver
import sys

NAME, ADDRESS, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{NAME} {self.path} {self.headers.get('Host')}\n".encode()
        self.send_response(200)
        self.send_header("X-Backend", NAME)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        # HTTPServer's own version asks the resolver for the machine's name, and there is no resolver here.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = NAME, PORT


Server((ADDRESS, PORT), Handler).serve_forever()
