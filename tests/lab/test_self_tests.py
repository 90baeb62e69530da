"""The scripts by which the lab tests itself run, and say whether their claim holds.

What they find takes a quiet machine and minutes, and stands in docs/method.rst; here it is merely
seen that each comes to an end, whatever that is, and that its table is one.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

SHORT = {
    "lab_false_alarms": "--runs 1 --repeats 2 --duration 0.1",
    "lab_added_work": "--rounds 2 --duration 0.1",
    "lab_stopped_server": "--rounds 1 --duration 2.2",
    "lab_throttled_generator": "--rounds 1 --duration 0.2",
    "lab_against_redis": "--rounds 1 --duration 0.2 --modes epoll-tcp",
}


@pytest.mark.parametrize("script", SHORT)
def test_a_self_test_comes_to_its_end_and_shows_a_table(script: str) -> None:
    if script == "lab_against_redis" and shutil.which("redis-benchmark") is None:
        pytest.skip("there is no redis-benchmark")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *SHORT[script].split()],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = done.stdout.rstrip().rpartition(": ")[2]
    assert said == {0: "yes", 1: "NO"}.get(done.returncode), done.stdout + done.stderr
    warnings = io.StringIO()
    page = publish_doctree(done.stdout, settings_overrides={"warning_stream": warnings})
    assert not warnings.getvalue()
    (table,) = page.findall(nodes.table)
    assert len(list(table.findall(nodes.row))) > 1


@pytest.mark.parametrize("script", SHORT)
def test_a_self_test_tells_how_it_is_used(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The claim holds" in done.stdout
