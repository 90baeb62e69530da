"""Workers added and removed while others start, leave, or stay for a client of theirs."""

import contextlib
import os
import signal
import socket
from pathlib import Path

from prefork_support import (
    ended_well,
    line_of,
    peers_of,
    script,
    served_by,
    wait_until_ready,
    workers,
)
from support import (
    PATIENCE,
    Program,
    children_of,
    descriptors_of,
    echo,
    state_of,
    wait_until,
    zombies_of,
)

# --- a listener for each ----------------------------------------------------------------


def client_of(server: Program, pids: list[int], wanted: int) -> socket.socket:
    """A client that *wanted* serves; the kernel draws who gets each."""
    with contextlib.ExitStack() as others:
        while True:
            client, pid = served_by(server, pids)
            if pid == wanted:
                return client
            others.enter_context(client)


def remove_one(server: Program) -> None:
    server.process.send_signal(signal.SIGTTOU)


def test_with_a_listener_each_a_worker_that_stays_for_a_client_gets_no_other(folder: Path) -> None:
    options = ["--accept", "reuseport", "--drain-timeout", str(PATIENCE)]
    with workers("prefork-threading-tcp", folder, *options, number=4) as (server, listed):
        pids = listed()
        highest = pids[3]
        with client_of(server, pids, highest) as client:
            before = descriptors_of(highest)
            remove_one(server)
            wait_until(lambda: descriptors_of(highest) < before, "it has left its listener")
            remove_one(server)
            wait_until(lambda: pids[2] not in listed(), "the idle one has ended")
            server.process.send_signal(signal.SIGTTIN)
            now = wait_until_ready(listed, 4, without=[pids[2]])
            (new,) = set(now) - set(pids)
            with contextlib.ExitStack() as others:
                for _ in range(40):
                    echo(others.enter_context(server.connect()))
                assert peers_of(highest) == {client.getsockname()}
                assert all(peers_of(pid) for pid in (pids[0], pids[1], new))  # they are drawn
            echo(client)
        wait_until(lambda: listed() == [pids[0], pids[1], new], "the highest has left")
        for _ in range(20):
            with server.connect() as other:
                echo(other)
        assert ended_well(*server.stop())


SERVES_TWICE = """
import os, sys, threading
from echoservers import EchoHandler, PreforkTCPServer

class Telling(EchoHandler):
    def respond(self, message):
        return b"%d\\n" % os.getpid()

with PreforkTCPServer(("127.0.0.1", 0), Telling, workers=3, accept="reuseport") as server:
    print(server.server_address[1], flush=True)
    for word in sys.stdin:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.wait_until_started()
        print("started", flush=True)
        for _ in word.split():
            server.remove_worker()
        sys.stdin.readline()
        server.shutdown()
        thread.join()
"""


def test_with_a_listener_each_who_serves_again_has_as_many_as_asked_for() -> None:
    with script(SERVES_TWICE) as process:
        address = ("127.0.0.1", int(line_of(process)))

        def say(words: str) -> None:
            assert process.stdin is not None
            process.stdin.write(f"{words}\n")
            process.stdin.flush()

        def there_are(number: int) -> None:
            wait_until(
                lambda: len(children_of(process.pid)) - len(zombies_of(process.pid)) == number,
                f"there are {number}",
            )

        say("one less")
        assert line_of(process) == "started"
        there_are(1)
        say("shut down")
        there_are(0)
        say("")
        assert line_of(process) == "started"
        seen: set[bytes] = set()
        for _ in range(100):
            with socket.create_connection(address, PATIENCE) as client:
                client.sendall(b"who?")
                seen.add(client.recv(100))
        assert len(seen) == 3  # the kernel draws: all get some
        say("shut down")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


# --- a position that goes while its worker is replaced ----------------------------------

HELD_AT_START = """
import os, signal, sys
from echoservers import EchoHandler, PreforkThreadingTCPServer

class Held(PreforkThreadingTCPServer):
    def _prepare_to_serve(self):
        super()._prepare_to_serve()
        if self._link is not None and os.path.exists(sys.argv[1]):
            os.unlink(sys.argv[1])
            open(sys.argv[2]).close()
        if self._link is not None:
            os.write(1, b"serves\\n")  # in one piece: the others write as well

with Held(("127.0.0.1", 0), EchoHandler, workers=2, drain_timeout=60) as server:
    signal.signal(signal.SIGTTIN, lambda *_: server.add_worker())
    signal.signal(signal.SIGTTOU, lambda *_: server.remove_worker())
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


def test_a_successor_goes_with_its_position(folder: Path) -> None:
    hold, gate = folder / "hold", folder / "gate"
    os.mkfifo(gate)
    with script(HELD_AT_START, hold, gate) as process:
        line_of(process)

        def listed() -> list[int]:
            return [pid for pid in children_of(process.pid) if state_of(pid) not in ("Z", "")]

        assert [line_of(process), line_of(process)] == ["serves", "serves"]
        first, second = listed()
        hold.touch()
        os.kill(second, signal.SIGTERM)  # it leaves when its successor is ready
        wait_until(lambda: len(listed()) == 3 and not hold.exists(), "the successor starts")
        process.send_signal(signal.SIGTTOU)
        wait_until(lambda: second not in listed(), "the old one has ended")
        with gate.open("w"):
            assert line_of(process) == "serves"
        wait_until(lambda: listed() == [first], "it has left as well")
        process.send_signal(signal.SIGTTIN)
        assert line_of(process) == "serves"
        process.send_signal(signal.SIGTTOU)
        wait_until(lambda: listed() == [first], "the books are right")
