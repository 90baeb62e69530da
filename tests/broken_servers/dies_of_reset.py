"""Has no handling for a connection that is reset: the exception ends the server."""

import socket
import sys

FAILS = "faults.reset faults.reset-in-mid-echo faults.close-without-reading faults.close-in-queue"
LEVEL = "iterative"

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)
