"""docs/designs.rst and its drawings say what the code does."""

import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from echoservers.options import read_options
from echoservers.palette import OTHER, STYLES, style_of
from echoservers.registry import create_server, modes, parse_mode_spec, server_class
from support import ROOT

DRAWINGS = ROOT / "docs" / "drawings"
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
SVG = "{http://www.w3.org/2000/svg}"

QUOTE = re.compile(
    r"^\.\. quoted: (?P<source>\S+)\n\n\.\. code-block:: python\n\n(?P<text>(?:(?: +\S.*)?\n)+)",
    re.MULTILINE,
)
COMMAND = re.compile(r"^:try it: ``python -m echoservers --mode (\S+)``$", re.MULTILINE)


def quotes() -> dict[str, tuple[str, str]]:
    """Every quote of every page: where it is from, and what it says."""
    found = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        for quote in QUOTE.finditer(text):
            line = text.count("\n", 0, quote.start()) + 1
            found[f"{page.name}:{line}"] = (quote["source"], textwrap.dedent(quote["text"]))
    return found


QUOTES = quotes()


def place_of(piece: str, source: str, start: int) -> int:
    """Where the lines of *piece* stand in *source*, all indented by the same; -1: nowhere."""
    lines = textwrap.dedent(piece).strip("\n")
    for indentation in range(0, 21, 4):
        found = source.find("\n" + textwrap.indent(lines, " " * indentation) + "\n", start)
        if found >= 0:
            return found
    return -1


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES.keys())
def test_quote_is_in_its_source(quote: tuple[str, str]) -> None:
    name, text = quote
    source = "\n" + (ROOT / name).read_text("utf-8")
    place = 0
    for piece in re.split(r"^ *\.\.\.\n", text, flags=re.MULTILINE):
        place = place_of(piece, source, place)
        assert place >= 0, f"not in {name}, or not in this order:\n{piece}"


def test_no_quote_is_overlooked() -> None:
    marks = sum(page.read_text("utf-8").count("\n.. quoted: ") for page in PAGES)
    assert len(QUOTES) == marks


@pytest.mark.parametrize("spec", COMMAND.findall((ROOT / "docs/designs.rst").read_text("utf-8")))
def test_command_is_understood(spec: str) -> None:
    mode, options = parse_mode_spec(spec)
    if mode.available:
        read_options(server_class(mode.name), options, mode.name)
    else:
        with pytest.raises(Exception, match="not available"):
            create_server(spec)


def test_every_model_has_a_section_and_a_look() -> None:
    page = (ROOT / "docs/designs.rst").read_text("utf-8")
    models = {mode.model for mode in modes()}
    plain = {model for model in models if not model.startswith("prefork-")}
    assert plain <= set(STYLES), plain - set(STYLES)
    for model in plain:
        assert f"drawings/{model}" in page, model


# The drawings


def test_drawings_are_those_that_the_script_makes(tmp_path: Path) -> None:
    script = [sys.executable, str(DRAWINGS / "make.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=20)
    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text("utf-8") for path in DRAWINGS.glob("*.svg")}
    assert made == kept, "run: python docs/drawings/make.py"


@pytest.mark.parametrize("path", sorted(DRAWINGS.glob("*.svg")), ids=lambda path: path.stem)
def test_drawing_is_for_everybody(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    for name in ("title", "desc"):
        assert (root.findtext(SVG + name) or "").strip()
    page = (ROOT / "docs/designs.rst").read_text("utf-8")
    assert f".. image:: drawings/{path.name}\n   :alt: " in page
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for words in root.iter(SVG + "text"):
        size = len(words.text or "") * float(words.attrib["font-size"]) * 0.62  # its width, roughly
        anchor = words.attrib.get("text-anchor", "start")
        left = float(words.attrib["x"]) - {"start": 0.0, "middle": size / 2, "end": size}[anchor]
        assert left >= 0, words.text
        assert left + size <= width, words.text
        assert 0 < float(words.attrib["y"]) < height, words.text


# The palette


def test_looks_are_told_apart() -> None:
    styles = [*STYLES.values(), OTHER]
    assert len({(style.color, style.line) for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)


@pytest.mark.parametrize("style", [*STYLES.values(), OTHER], ids=[*STYLES, "other"])
def test_color_is_seen_on_white(style: tuple[str, ...]) -> None:
    red, green, blue = (int(style[0][i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) > 2.1  # lines of two pixels; yellow has 1.2


def test_look_of_composed_and_unknown_models() -> None:
    epoll = style_of("prefork-epoll")
    assert epoll.color == STYLES["prefork"].color
    assert epoll.marker == STYLES["epoll"].marker
    assert style_of("threading") is STYLES["threading"]
    assert style_of("echonext") is OTHER
