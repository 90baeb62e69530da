"""Write the drawings of the documentation: ``python docs/drawings/make.py [DIRECTORY]``.

Without a directory it writes beside itself, where the pages look for them.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from cast import DRAWINGS  # noqa: E402 - found by the line above

for pages in ("blocking", "preforked", "loops"):
    importlib.import_module(pages)  # each adds its drawings


def drawings() -> dict[str, str]:
    """Every drawing, by the name of its file."""
    return {f"{name}.svg": draw().text() for name, draw in DRAWINGS.items()}


def main(directory: Path) -> None:
    """Write all of them to *directory*."""
    for name, text in drawings().items():
        (directory / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
