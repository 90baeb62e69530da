"""Every code block of README.rst and docs/*.rst does what the page says.

Strategy: each top-level section of a page is one test.  It plays a reader who
follows the section to the letter: sits at the root of a checkout (a directory
of links to ours, so that nothing lands in it), saves the files, starts the
servers, types the commands and compares what they print.  How to write such
blocks is told in CONTRIBUTING.rst.

Pages name the default port and files in ``/tmp``; tests run side by side.  So
ports from 8007 to 8099 and ``/tmp/`` become a free port and a private directory
on the way in, and themselves again on the way out.
"""

import contextlib
import doctest
import io
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from docutils import nodes
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]

SHOWN = {"ini", "json", "rst", "text", "toml"}  # data: nothing to run
LANGUAGES = ", ".join(["console", "python", *sorted(SHOWN)])

COMMAND_TIME = 30  # seconds; each takes well under one, the rest is for a busy machine
SECTION_TIME = 180  # seconds; a section holds a handful of commands

PAGE_PORT = re.compile(r"(?<!\d)80(?:0[7-9]|[1-9]\d)(?!\d)")
PAGE_TMP = re.compile(r"(?<![\w.])/tmp/")
UNASSIGNED_PORTS = range(10000, 20000)  # below what targets and systems take
TAKES_DEFAULT_PORT = re.compile(r"(python3? -m )?echoservers\b(?!.*(--port|--path|unix))")
READY = re.compile(rb"listening on .*\n")


@dataclass(frozen=True)
class Block:
    """A code block, in its section (titles from the top), and why it is not run."""

    language: str
    text: str
    section: tuple[str, ...]
    not_run: str | None


@dataclass
class Command:
    """What stands after ``$``, and what the page shows below it."""

    line: str
    expected: list[str] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        """A command that is left running: a server, or one that ends in ``&``."""
        return self.line.endswith("&") or any("listening on " in line for line in self.expected)


def fail(message: str) -> NoReturn:
    pytest.fail(message, pytrace=False)


def read_page(text: str, warnings: io.StringIO | None = None) -> nodes.document:
    """Parse with what a package index allows, too: no files, no raw HTML."""
    allowed = {"file_insertion_enabled": False, "raw_enabled": False}
    report = {"warning_stream": warnings or io.StringIO(), "report_level": 2, "halt_level": 5}
    plain = {"syntax_highlight": "none"}
    return publish_doctree(text, settings_overrides={**allowed, **report, **plain})


def blocks_of(node: nodes.Node, section: tuple[str, ...] = ()) -> Iterator[Block]:
    """Every block below *node*, in the order of the page."""
    not_run, quoted = None, False
    for child in node.children:
        if isinstance(child, nodes.comment):
            label, _, reason = child.astext().partition(":")
            not_run = (reason.strip() or None) if label == "not-run" else not_run
            quoted = label == "quoted"  # it need not run by itself; see test_designs.py
        elif isinstance(child, (nodes.literal_block, nodes.doctest_block)):
            language = "".join(name for name in child["classes"] if name != "code")
            yield Block("text" if quoted else language, child.astext(), section, not_run)
            not_run, quoted = None, False
        elif isinstance(child, nodes.section):
            yield from blocks_of(child, (*section, child[0].astext()))
        elif not isinstance(child, nodes.target):
            yield from blocks_of(child, section)
            not_run, quoted = None, False


def sections() -> dict[str, list[Block]]:
    """One test a top-level section that has blocks to run; one a block that is not run."""
    tests: dict[str, list[Block]] = {}
    for page in PAGES:
        for block in blocks_of(read_page(page.read_text("utf-8"))):
            if block.language not in SHOWN:
                title = block.section[0] if block.section else "top"
                remark = f" (not run: {block.not_run})" if block.not_run else ""
                tests.setdefault(f"{page.name}:{title}{remark}", []).append(block)
    return tests


SECTIONS = sections()


def commands_of(block: Block) -> list[Command]:
    """Cut a console block into its commands; ``> `` goes on after a backslash."""
    commands: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ")))
        elif not commands:
            fail(f"a console block begins with a `$ command`, not with: {line}")
        elif line.startswith("> ") and commands[-1].line.endswith("\\"):
            commands[-1].line += "\n" + line.removeprefix("> ")
        else:
            commands[-1].expected.append(line)
    return commands


def free_port() -> int:
    """A port free for TCP and UDP that the system gives to nobody of its own accord."""
    for port in random.SystemRandom().sample(UNASSIGNED_PORTS, 1000):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    fail("no free port")


def tidy(output: str) -> str:
    """Without the white space at the ends of lines, which a page cannot show."""
    text = "\n".join(line.rstrip() for line in output.splitlines()).strip("\n")
    return text and text + "\n"


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a command left behind, itself included; close its pipe and wait for it."""
    with process, contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Server:
    """A command left running; it ends with the section that started it."""

    line: str
    section: tuple[str, ...]
    process: subprocess.Popen[bytes]
    errors: Path

    def fail(self, message: str) -> NoReturn:
        errors = self.errors.read_text("utf-8", "backslashreplace")
        fail(f"$ {self.line}\n{message}\n{errors}")

    def wait_until_ready(self) -> str:
        """What it prints up to the line that says that it listens."""
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        deadline = time.monotonic() + COMMAND_TIME
        output = b""
        while not READY.search(output):
            if not poller.poll(max(0, deadline - time.monotonic()) * 1000):
                self.fail(f"not listening after {COMMAND_TIME} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                self.fail(f"ended before it listened\n{output.decode()}")
            output += data
        return output.decode()

    def stop(self) -> None:
        """Ask it to end, by its process id; it must do so cleanly."""
        self.process.terminate()
        try:
            status = self.process.wait(COMMAND_TIME)
        except subprocess.TimeoutExpired:
            self.fail(f"still running {COMMAND_TIME} s after SIGTERM")
        finally:
            end_group(self.process)
        if status not in (0, -signal.SIGTERM) or b"Traceback" in self.errors.read_bytes():
            self.fail(f"ended with status {status}")


class Reader(contextlib.ExitStack):
    """Somebody at the root of a checkout who does what the page says."""

    def __init__(self) -> None:
        super().__init__()
        # A short path: the addresses of Unix sockets have 107 bytes.
        self._home = self.enter_context(tempfile.TemporaryDirectory(prefix="read-"))
        self._tmp, self._directory = f"{self._home}/tmp/", f"{self._home}/echoservers"
        os.mkdir(self._tmp)
        os.mkdir(self._directory)
        for entry in ROOT.iterdir():
            if not entry.name.startswith("."):
                os.symlink(entry, f"{self._directory}/{entry.name}")
        self._servers: list[Server] = []
        self.callback(self._end_servers)  # those that a failure has left
        self._ports = defaultdict[str, str](lambda: str(free_port()))
        self._unused: set[str] = set()  # files saved
        self._status = 0
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        self._environment = {**os.environ, "COLUMNS": "80", "PATH": path, "TERM": "dumb"}
        for name in ("FORCE_COLOR", "PYTHONUNBUFFERED"):
            self._environment.pop(name, None)

    def follow(self, blocks: list[Block]) -> None:
        """Go through the blocks of one top-level section."""
        for block in blocks:
            self._leave_sections(block.section)
            if block.language == "console":
                self._type(block)
            elif block.language == "python":
                self._python(block)
            else:
                fail(f"{block.language or 'no language'}: not one of {LANGUAGES}:\n{block.text}")
        self._leave_sections(None)
        if self._unused:
            fail(f"saved, but no command uses it: {', '.join(sorted(self._unused))}")

    def _here(self, text: str) -> str:
        """*text* of the page with this test's own ports and directory."""
        return PAGE_TMP.sub(self._tmp, PAGE_PORT.sub(lambda port: self._ports[port[0]], text))

    def _as_on_page(self, text: str) -> str:
        text = text.replace(self._tmp, "/tmp/")
        for shown, port in self._ports.items():
            text = re.sub(rf"(?<!\d){port}(?!\d)", shown, text)
        return text

    def _leave_sections(self, section: tuple[str, ...] | None) -> None:
        """Stop the servers of the sections that end before *section*; None: the end."""
        while self._servers:
            own = self._servers[-1].section
            if section is not None and section[: len(own)] == own:
                return
            self._servers.pop().stop()

    def _end_servers(self) -> None:
        for server in self._servers:
            end_group(server.process)

    def _popen(self, argv: list[str], errors: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )

    def _run(self, argv: list[str], shown: str) -> str:
        """What the program prints, on either stream; its exit status is kept."""
        process = self._popen(argv, subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=COMMAND_TIME)
        except subprocess.TimeoutExpired:
            fail(f"{shown}\nstill running after {COMMAND_TIME} s")
        finally:
            end_group(process)
        self._status = process.returncode
        return output.decode("utf-8", "backslashreplace")

    def _type(self, block: Block) -> None:
        commands = commands_of(block)
        for command, following in zip(commands, [*commands[1:], None], strict=True):
            self._unused = {name for name in self._unused if Path(name).stem not in command.line}
            if command.stays:
                output = self._start(command, block.section)
            else:
                script = f"(exit {self._status})\n{self._here(command.line)}"
                output = self._run(["bash", "-c", script], f"$ {command.line}")
            self._compare(command, output)
            if self._status and not (following and following.line == "echo $?"):
                fail(f"$ {command.line}\nstatus {self._status}, and no `$ echo $?` follows")

    def _start(self, command: Command, section: tuple[str, ...]) -> str:
        line = command.line.removesuffix("&").rstrip()
        if TAKES_DEFAULT_PORT.match(line):
            line += " --port 8007"  # the default, said aloud so that it can be replaced
        errors = Path(self._home, f"errors-{len(self._servers)}")
        with errors.open("wb") as file:
            process = self._popen(["bash", "-c", f"exec {self._here(line)}"], file.fileno())
        server = Server(command.line, section, process, errors)
        self._servers.append(server)
        return server.wait_until_ready()

    def _compare(self, command: Command, output: str) -> None:
        """Compare as doctest does; ``...`` stands for anything."""
        got, want = tidy(self._as_on_page(output)), tidy("\n".join(command.expected))
        checker = doctest.OutputChecker()
        if not checker.check_output(want, got, doctest.ELLIPSIS):
            example = doctest.Example(command.line, want)
            fail(f"$ {command.line}\n{checker.output_difference(example, got, doctest.ELLIPSIS)}")

    def _python(self, block: Block) -> None:
        text = self._here(block.text) + "\n"
        saved = re.match(r"# ([\w-]+\.py)\n", text)
        if saved:
            with open(f"{self._directory}/{saved[1]}", "x") as file:  # never through a link of ours
                file.write(text)
            self._unused.add(saved[1])
            return
        is_session = text.startswith(">>>")
        path = Path(self._directory, "session.txt" if is_session else "script.py")
        path.write_text(text, "utf-8")
        doctest_run = ["-m", "doctest", "-o", "ELLIPSIS"] if is_session else []
        output = self._run([sys.executable, *doctest_run, str(path)], block.text)
        if self._status:
            fail(f"{block.text}\n\nfailed with status {self._status}:\n{output}")


@pytest.mark.timeout(SECTION_TIME)
@pytest.mark.parametrize("blocks", SECTIONS.values(), ids=SECTIONS.keys())
def test_section_does_what_it_says(blocks: list[Block]) -> None:
    if blocks[0].not_run:
        pytest.skip(blocks[0].not_run)
    with Reader() as reader:
        reader.follow(blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_renders_without_a_warning(page: Path) -> None:
    warnings = io.StringIO()
    read_page(page.read_text("utf-8"), warnings)
    assert warnings.getvalue() == ""


# The reader itself


def block(language: str, *lines: str) -> str:
    return "\n   ".join([f".. code-block:: {language}\n", *lines]) + "\n\n"


LISTEN = "with socket.create_server(('127.0.0.1', 8007)): print('listening on 8007', flush=True); "
SERVE = block("python", "# serve.py", "import signal, socket", LISTEN + "signal.pause()")
START = block("console", "$ python serve.py", "listening on 8007")

GOOD = {
    "output": block("console", "$ echo a", "a", "$ printf 'b\\n\\nc 1\\n'", "b", "", "c ..."),
    "failure": block("console", "$ exit 3", "$ echo $?", "3"),
    "substitutes": block("console", "$ echo 8007 /tmp/e \\", "> 8008", "8007 /tmp/e 8008"),
    "saved": block("python", "# hi.py", "print('hi')") + block("console", "$ python hi.py", "hi"),
    "ends with its section": f"A\n=\n\n{SERVE}B\n-\n\n{START}C\n-\n\n{START}",
    "session": block("python", ">>> list(range(20))", "[0, ..., 19]"),
    "script": block("python", "import echoservers"),
    "data": block("text", "$ false"),
}

BAD = {
    "other output": (block("console", "$ echo a", "b"), "Expected"),
    "more output": (block("console", "$ echo a"), "Expected nothing"),
    "failure": (block("console", "$ exit 3"), "status 3"),
    "no command": (block("console", "a"), "begins with"),
    "two on one port": (SERVE + START + START, "Address already in use"),
    "never ready": (block("console", "$ true &"), "ended before it listened"),
    "other line": (block("console", "$ echo listening on 1", "listening on 2"), "Expected"),
    "unused": (block("python", "# hi.py", "print('hi')"), "no command uses it"),
    "session": (block("python", ">>> 6 * 7", "43"), "status 1"),
    "script": (block("python", "1 / 0"), "ZeroDivisionError"),
    "no language": ("::\n\n   $ true\n", "no language: not one of"),
    "bare session": (">>> 1\n1\n", "no language: not one of"),
    "other language": (block("bash", "true"), "bash: not one of"),
}


@pytest.mark.parametrize("page", GOOD.values(), ids=GOOD.keys())
def test_reader_accepts(page: str) -> None:
    with Reader() as reader:
        reader.follow([b for b in blocks_of(read_page(page)) if b.language not in SHOWN])


@pytest.mark.parametrize(("page", "complaint"), BAD.values(), ids=BAD.keys())
def test_reader_complains(page: str, complaint: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=re.escape(complaint)), Reader() as reader:
        reader.follow(list(blocks_of(read_page(page))))
