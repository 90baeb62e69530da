"""Ends when a reply meets a port where nobody is any more (ICMP, port unreachable)."""

import socket
import sys

FAILS = "datagrams.gone"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))
IP_RECVERR = 11  # asks for the errors that otherwise only a connected socket gets (ip(7))
sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

while True:
    data, client = sock.recvfrom(65535)  # ConnectionRefusedError: what an earlier reply met
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    sock.sendto(data, client)
