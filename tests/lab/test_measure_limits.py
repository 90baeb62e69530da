"""What servers may have while they are measured."""

import resource
from pathlib import Path

from echoservers.targets import Target
from lab_support import ECHO, program, run, short

LIMITED = """
import resource
with open({path!r}, "a") as file:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], file=file)
serve()
"""


def test_every_server_of_a_run_may_open_as_many_descriptors(tmp_path: Path) -> None:
    found = tmp_path / "limits"
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = usual[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        with program(tmp_path, ECHO + LIMITED.format(path=str(found))) as command:
            targets = [Target.of_command(command, name=name) for name in ("one", "two", "three")]
            results, _ = run(targets, short("idle"))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    (limit,) = set(found.read_text().split())
    assert int(limit) == (20_100 if hard == resource.RLIM_INFINITY else min(hard, 20_100))
    limits = results.environment["limits"]
    assert limits["nofile"] == [500, None if hard == resource.RLIM_INFINITY else hard]
    assert limits["nofile_servers"] == int(limit)
