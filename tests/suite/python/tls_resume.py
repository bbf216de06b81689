"""Connects twice, the second time with the session of the first: prints for each version of TLS whether that was resumed.

Arguments: a port of this machine, the authority to trust, and a file with a certificate and its key.
"""

import socket
import ssl
import sys

port, authority, identity = sys.argv[1:]


def connect(context, session):
    plain = socket.create_connection(("127.0.0.1", int(port)))
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
        tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        # Tickets come with the first that is read.
        while tls.recv(4096):
            pass
        return tls.session, tls.session_reused


for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(identity)
    context.minimum_version = context.maximum_version = version
    session, _ = connect(context, None)
    print(version.name, connect(context, session)[1])
