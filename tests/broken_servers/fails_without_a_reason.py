"""Says that it starts, and not why it ends, when its port is in use."""

import socket
import sys
import threading

FAILS = "processes.second-instance-says"


def serve(client):
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


port = int(sys.argv[1])
print("Echo server starting on port", port, file=sys.stderr)
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    listener.bind(("127.0.0.1", port))
except OSError:
    sys.exit(1)
listener.listen(512)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
