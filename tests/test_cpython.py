"""CPython's test suite for socketserver, run against our classes."""

import os
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import ROOT

HERE = Path(__file__).parent


def has_the_suite() -> bool:
    """Whether this Python was installed with it, or at all with its package ``test``."""
    try:
        return find_spec("test.test_socketserver") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(
    not has_the_suite(), reason="this Python was installed without its test package"
)
def test_cpython_test_socketserver_passes_with_our_classes(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "cpython_socketserver.py")],
        capture_output=True,
        check=False,
        text=True,
        cwd=folder,  # it makes sockets and files where it runs
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 26 tests" in done.stderr
    assert "skipped" not in done.stderr


@pytest.mark.parametrize("missing", ["test", "test.test_socketserver"])
def test_a_python_without_the_suite_is_found_out(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "test"]:
        monkeypatch.delitem(sys.modules, name)
    if missing == "test":
        monkeypatch.setitem(sys.modules, "test", None)
    else:
        empty = types.ModuleType("test")
        empty.__path__ = []
        monkeypatch.setitem(sys.modules, "test", empty)
    assert not has_the_suite()
