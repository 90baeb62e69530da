"""Answers datagrams from its own port, where another of its kind would answer, too."""

import socket
import sys

FAILS = "datagrams.own-port"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(65535)
    if client[1] >= 1024:
        sock.sendto(data, client)
