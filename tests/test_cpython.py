"""CPython's test suite for socketserver, run against our classes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

HERE = Path(__file__).parent


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_socketserver") is None,
    reason="this Python was installed without its test package",
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
