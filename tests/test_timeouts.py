"""Time limits that the kernel keeps: what connections inherit, and who changes it later."""

import select
import socket
import threading

import pytest

import echoservers
from plain import client_of
from support import OF_PROCESSES, TCP_NAMES

TCP_IN_PROCESS = [name for name in TCP_NAMES if not name.startswith(OF_PROCESSES)]


@pytest.mark.parametrize("mode", TCP_IN_PROCESS)
def test_a_time_limit_that_is_lifted_later_ends_no_connection(mode: str) -> None:
    address = ("127.0.0.1", 0)
    with echoservers.create_server(mode, address, idle_timeout=0.2, drain_timeout=1) as server:
        server.idle_timeout = None
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with client_of(server) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
                waiting = select.poll()
                waiting.register(client, select.POLLIN)
                assert waiting.poll(500) == []
                client.sendall(b"still there")
                assert client.recv(100) == b"still there"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("later", [None, 5.0])
def test_a_listener_that_comes_later_hands_on_the_limit_of_the_first(later: float | None) -> None:
    spec = "prefork-tcp:workers=2,accept=reuseport"
    with echoservers.create_server(spec, ("127.0.0.1", 0), idle_timeout=3) as server:
        server.idle_timeout = later
        limits = {
            server._listener_of(position).getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
            for position in range(2)
        }
        assert server.inherited_timeout == 3
    assert len(limits) == 1
