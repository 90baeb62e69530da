"""Sends str() of the bytes, as Python shows them."""

import socket
import sys
import threading

FAILS = (
    "bytes.echo bytes.every-value bytes.nul bytes.broken-utf-8 bytes.line-ends "
    "bytes.white-space bytes.letters bytes.format-signs bytes.empty-lines "
    "bytes.split-characters streams.nothing-more streams.fragments streams.many-messages "
    "streams.long-line streams.large streams.late-reader streams.end-after-much"
)


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(str(data).encode())


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
