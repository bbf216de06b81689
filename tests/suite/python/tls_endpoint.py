"""An HTTPS endpoint that says 200 to every POST, and whose certificate it was shown.

Arguments: its own certificate and key, and the authority of the certificates that it asks its clients for; `-` for none.
It prints its port, and then a line for each request: the common name of the client's certificate.
"""

import http.server
import ssl
import sys

certificate, key, authority = sys.argv[1:]


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        shown = self.connection.getpeercert() or {}
        names = dict(pair for name in shown.get("subject", ()) for pair in name)
        print(names.get("commonName", "nobody"), flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
if authority != "-":
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
