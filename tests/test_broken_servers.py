"""Each wrong server fails the checks that name its fault, and no other."""

from pathlib import Path

import pytest

from strange_servers import Strange, checked, failed, strange_servers

SCALE = 0.5
"""Of the time limits: most of the time goes by in waiting for answers that never come."""

BROKEN = strange_servers("broken_servers")


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.path.name)
def test_a_broken_server_fails_what_names_its_fault(broken: Strange, tmp_path: Path) -> None:
    failures = failed(checked(broken.target(tmp_path), broken.level, SCALE))
    assert set(failures) == broken.fails, failures
