"""After every test the process must be as it was before: no thread, child or descriptor more."""

import asyncio
import gc
import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import children_of, descriptors_of, wait_until


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
