"""Says goodbye when the input has ended."""

import socket
import sys
import threading

FAILS = "streams.half-close streams.end-of-nothing"


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)
        connection.sendall(b"bye\n")


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
