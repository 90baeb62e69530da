"""Runs the lab's self-tests and puts what they print into docs/method.rst.

    python benchmarks/lab_method.py [lab_false_alarms ...]

By default all of them, which takes a quarter of an hour on an idle machine.  What a script prints
takes the place of what stands between two comments of that page, whether its claim holds or not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lab_common import arguments

SCRIPTS = (
    "lab_false_alarms",
    "lab_added_work",
    "lab_stopped_server",
    "lab_throttled_generator",
    "lab_against_redis",
)

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "method.rst"


def put(page: str, script: str, printed: str) -> str:
    """The *page* with what *script* has *printed*."""
    place = re.compile(
        rf"(?<=^\.\. from {script}\.py\n\n).*?(?=^\.\. to here$)", re.DOTALL | re.MULTILINE
    )
    text = printed.strip() + "\n\n"
    page, number = place.subn(lambda _: text, page)
    if number != 1:
        sys.exit(f"{PAGE.name} has {number} places for {script}")
    return page


def main() -> int:
    """Run, and write after each."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("scripts", nargs="*", metavar="SCRIPT", default=SCRIPTS, help="by default all")
    failed = 0
    for script in parser.parse_args().scripts:
        if script not in SCRIPTS:
            parser.error(f"there is no {script}; there are {', '.join(SCRIPTS)}")
        print(script, file=sys.stderr)
        command = [sys.executable, str(HERE / f"{script}.py")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if not done.stdout:
            return 1
        failed += done.returncode
        PAGE.write_text(put(PAGE.read_text("utf-8"), script, done.stdout), "utf-8")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
