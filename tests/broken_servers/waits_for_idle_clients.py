"""On a signal waits for its clients to leave, for as long as they like to stay."""

import signal
import socket
import sys
import threading

FAILS = "processes.sigterm processes.sigint"


def stop(signum, frame):
    sys.exit(0)


def serve(client):
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,)).start()  # the interpreter waits for it
