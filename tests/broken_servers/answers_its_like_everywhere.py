"""Has its port at all addresses, and answers datagrams from its own port: itself, that is."""

import socket
import sys

FAILS = "datagrams.own-port"
TRANSPORT = "udp"

IP_PKTINFO = 8  # linux/in.h: where a datagram was sent to, and where the reply is to be from

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
sock.bind(("0.0.0.0", port))

while True:
    data, asked, _, client = sock.recvmsg(65535, 64)
    if client[1] >= 1024:
        sock.sendmsg([data], asked, 0, client)
