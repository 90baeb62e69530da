"""Answers datagrams from ports 7 and 19, whose services would answer, too, and so on."""

import socket
import sys

FAILS = "datagrams.low-ports"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(65535)
    if client[1] != port:
        sock.sendto(data, client)
