"""After every test the process must be as it was before: no thread, child or descriptor more."""

import asyncio
import gc
import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import children_of, descriptors_of, wait_until


@pytest.fixture(autouse=True, scope="session")
def signals_are_not_ignored() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and nohup(1) SIGHUP."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def libuv_has_its_pipe() -> None:
    """The first loop of a process makes libuv open a pipe for signals, which it keeps."""
    if importlib.util.find_spec("uvloop"):
        import uvloop

        loop = uvloop.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaks."""
    threads = set(threading.enumerate())
    children = set(children_of(os.getpid()))
    descriptors = descriptors_of(os.getpid())
    yield
    if descriptors_of(os.getpid()) > descriptors:
        gc.collect()  # what a failed test has left to it
    wait_until(lambda: set(threading.enumerate()) <= threads, "threads end", 5)
    wait_until(lambda: set(children_of(os.getpid())) <= children, "children end", 5)
    wait_until(lambda: descriptors_of(os.getpid()) <= descriptors, "descriptors close", 5)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="echo"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def default_timeout() -> Iterator[float]:
    """Of every socket that is made now; longer than any test may take."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(3600)
    yield 3600
    socket.setdefaulttimeout(before)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates: of the server, of a client, of their CA and of another CA."""
    import trustme

    folder = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    server, client = ca.issue_cert("localhost", "127.0.0.1"), ca.issue_cert("client@example.org")
    made = {
        "ca": ca.cert_pem,
        "other_ca": other.cert_pem,
        "cert": server.cert_chain_pems[0],
        "key": server.private_key_pem,
        "both": server.private_key_and_cert_chain_pem,
        "client": client.private_key_and_cert_chain_pem,
        "client_key": client.private_key_pem,
    }
    for name, blob in made.items():
        blob.write_to_path(str(folder / name))
    (folder / "garbage").write_text("no certificate")
    return {name: str(folder / name) for name in [*made, "garbage", "missing"]}


@pytest.fixture
def own(files: dict[str, str]) -> dict[str, str]:
    """The options that give a server its certificate: quicker than to have one made."""
    return {"certfile": files["both"]}
