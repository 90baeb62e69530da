"""Write the tables of the wrong servers into their page: ``python docs/broken_servers.py``.

What each fails stands in its own file, and the tests hold them to it.  ``--print`` writes
nothing, and prints the page as it should be.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from echoservers.conformance import CHECKS  # noqa: E402 - found by the line above
from strange_servers import Strange, strange_servers  # noqa: E402

PAGE = HERE / "conformance.rst"
BEGIN = ".. tables of the wrong servers, by docs/broken_servers.py\n"
END = ".. end of these tables\n"


def table(widths: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A list-table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'  ' if n else '* '}- {cell}" for n, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def by_server(broken: list[Strange]) -> str:
    """Each wrong server, its fault, and the checks that it fails."""
    return table(
        "20 40 40",
        ("wrong server", "its fault", "the checks that it fails"),
        [
            (
                f"``{server.path.name}``",
                server.fault.replace("\\", "\\\\").replace("*", "\\*").replace("`", "\\`"),
                ", ".join(f"``{name}``" for name in CHECKS if name in server.fails),
            )
            for server in broken
        ],
    )


def by_check(broken: list[Strange]) -> str:
    """Each check, and the wrong servers that fail it."""
    return table(
        "25 75",
        ("check", "the wrong servers that fail it"),
        [
            (
                f"``{name}``",
                ", ".join(
                    server.path.stem.replace("_", " ") for server in broken if name in server.fails
                )
                or "none",
            )
            for name in CHECKS
        ],
    )


def page() -> str:
    """The page as it is, with the tables as they should be."""
    broken = strange_servers("broken_servers")
    before, begin, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{by_server(broken)}\n{by_check(broken)}\n{end}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), "utf-8")
