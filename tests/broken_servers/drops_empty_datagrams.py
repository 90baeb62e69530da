"""Takes an empty datagram for the end of something, as of a stream, and drops it."""

import socket
import sys

FAILS = "datagrams.empty"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(65535)
    if not data:
        continue
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    sock.sendto(data, client)
