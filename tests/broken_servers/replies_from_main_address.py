"""Has its port at all addresses, and replies from the one that the system prefers."""

import socket
import sys

FAILS = "datagrams.from-where-asked"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", port))

while True:
    data, client = sock.recvfrom(65535)
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    sock.sendto(data, client)
