"""``python -m echoservers.lab.locust``: Locust with our locustfile; its options follow.

``--path`` tells where the locustfile is.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def main(arguments: list[str]) -> None:
    """Become Locust.

    :raises SystemExit: there is none, or it is not asked for.
    """
    if arguments == ["--path"]:
        sys.stdout.write(f"{LOCUSTFILE}\n")
        return
    if find_spec("locust") is None:
        sys.exit("echoservers: error: Locust is not installed: pip install 'echoservers[locust]'")
    os.execv(sys.executable, [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
