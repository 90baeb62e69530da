"""What is added to the registry: by `register`, and by packages that are installed."""

import json
import os
import socketserver
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import EchoClient, ServingMixIn, UnknownMode, registry
from echoservers.registry import find_mode
from support import (
    AVAILABLE,
    EVERY_NAME,
    ROOT,
    echo_once,
    program,
    run_cli,
    serve_arguments,
    serving,
)

TRANSPORTS = ("tcp", "udp", "unix-stream", "unix-datagram")


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten behind it."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_classes", {})


# --- by register() ----------------------------------------------------------------------


class CountingMixIn(ServingMixIn):
    """Counts what it serves.

    Longer text that no table needs.
    """

    serves = "the loop, counted"
    served = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.served += 1
        super().process_request(request, client_address)


class CountingUDPServer(CountingMixIn, echoservers.UDPServer):
    """Written out, as the built-in ones are."""


class Counting(CountingMixIn):
    """A model for connections alone."""

    transports = ("tcp", "unix-stream")


class MixIn(CountingMixIn):
    """Composed with TCPServer its name is that of a class that this module has imported."""


TCPServer = echoservers.TCPServer


@pytest.mark.usefixtures("fresh_registry")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_registered_model_runs_over_every_transport(transport: str, folder: Path) -> None:
    echoservers.register("counting", CountingMixIn)
    name = f"counting-{transport}"
    assert name in [mode.name for mode in echoservers.modes()]
    cls = echoservers.server_class(name)
    assert cls is echoservers.server_class(name)
    assert cls.__name__ == f"Counting{echoservers.server_class(transport).__name__}"
    assert issubclass(cls, echoservers.server_class(transport))
    with serving(f"{name}:max_connections=3", folder) as server:
        for _ in range(3):
            echo_once(server)
        assert isinstance(server, CountingMixIn)
        assert server.served == server.max_connections == 3
        assert server.mode == name


@pytest.mark.usefixtures("fresh_registry")
def test_a_registered_model_describes_itself() -> None:
    echoservers.register("counting", CountingMixIn)
    mode = find_mode("counting-tcp")
    assert (mode.model, mode.transport, mode.aliases) == ("counting", "tcp", ())
    assert (mode.available, mode.reason) == (True, None)
    assert (mode.serves, mode.good_for) == ("the loop, counted", "Counts what it serves.")


@pytest.mark.usefixtures("fresh_registry")
def test_a_class_that_the_model_has_written_out_is_used_and_no_other() -> None:
    echoservers.register("counting", CountingMixIn)
    echoservers.register("nameless", MixIn)
    assert echoservers.server_class("counting-udp") is CountingUDPServer
    assert issubclass(echoservers.server_class("nameless-tcp"), MixIn)


@pytest.mark.usefixtures("fresh_registry")
def test_a_model_says_which_transports_it_takes() -> None:
    echoservers.register("streams", Counting)
    names = [mode.name for mode in echoservers.modes() if mode.model == "streams"]
    assert names == ["streams-tcp", "streams-unix-stream"]
    with pytest.raises(UnknownMode):
        find_mode("streams-udp")


@pytest.mark.usefixtures("fresh_registry")
def test_a_model_may_be_registered_twice_but_not_replaced() -> None:
    echoservers.register("counting", CountingMixIn)
    cls = echoservers.server_class("counting-tcp")
    echoservers.register("counting", CountingMixIn)
    assert echoservers.server_class("counting-tcp") is cls
    with pytest.raises(ValueError, match="'counting' is taken"):
        echoservers.register("counting", Counting)


@pytest.mark.usefixtures("fresh_registry")
@pytest.mark.parametrize(
    ("name", "model", "error"),
    [
        *((name, CountingMixIn, ValueError) for name in ("", "-", "A", "a b", "a:b", "ä", "a_b")),
        *((name, CountingMixIn, ValueError) for name in ("tcp", "iterative", "threading")),
        *(("new", model, TypeError) for model in (socketserver.ThreadingMixIn, object, None, "x")),
        ("new", type("Bad", (CountingMixIn,), {"transports": ("tcp", "sctp")}), ValueError),
        ("new", type("Bad", (CountingMixIn,), {"transports": "tcp"}), ValueError),
    ],
)
def test_what_cannot_be_a_model_is_refused(name: str, model: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        echoservers.register(name, model)
    assert len(echoservers.modes()) == len(EVERY_NAME)


@pytest.mark.usefixtures("fresh_registry")
def test_threads_that_ask_at_once_get_the_same_class() -> None:
    echoservers.register("counting", CountingMixIn)
    together = threading.Barrier(8)

    def ask(_: int) -> type:
        together.wait()
        return echoservers.server_class("counting-tcp")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


# --- by installed packages --------------------------------------------------------------

SHOUT = """
from typing import Annotated, Any

from echoservers import EchoHandler, ServingMixIn
from echoservers.options import Option, count


class ShoutMixIn(ServingMixIn):
    \"\"\"Serves in the loop.\"\"\"

    serves = "the loop, loudly"
    good_for = "the hard of hearing"

    volume: Annotated[int, Option(count, "decibels", "how loud to be")] = 1


class ShoutHandler(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        return message.upper() + b"!" * getattr(self.server, "volume", 1)
"""

ENTRY_POINTS = """
[echoservers.models]
shout = shout:ShoutMixIn
[echoservers.handlers]
shout = shout:ShoutHandler
"""


def build_wheel(folder: Path) -> Path:
    """A wheel by hand (PEP 427): no network, and nothing but the standard library."""
    info = "echoservers_shout-1.0.dist-info"
    files = {
        "shout.py": SHOUT,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: echoservers-shout\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": ENTRY_POINTS,
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / "echoservers_shout-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which somebody's package with a model and a handler is installed."""
    target = tmp_path_factory.mktemp("site")
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--target", str(target), str(wheel)],
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": ""},
        check=True,
        timeout=50,
    )
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{target}"}


def modes_by_name(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    done = run_cli("modes", "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    return {mode["name"]: mode for mode in json.loads(done.stdout)}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_installed_model_and_handler_serve_by_their_names(
    transport: str, installed: dict[str, str], folder: Path
) -> None:
    arguments = serve_arguments(f"shout-{transport}", folder)
    with program(*arguments, "--handler", "shout", env=installed) as served:
        assert served.line.startswith(f"shout-{transport} listening on ")
        with EchoClient(served.url) as client:
            client.send(b"hello")
            assert client.receive() == b"HELLO!"
        assert served.stop()[0] == 0


def test_the_options_of_an_installed_model_are_flags_and_go_into_a_spec(
    installed: dict[str, str], folder: Path
) -> None:
    for extra in (["--volume", "3"], ["--mode", "shout-tcp:volume=3"]):
        arguments = [*serve_arguments("shout-tcp", folder), "--handler", "shout", *extra]
        with program(*arguments, env=installed) as served, EchoClient(served.url) as client:
            client.send(b"hello")
            assert client.receive() == b"HELLO!!!"
    refused = run_cli("--mode", "shout-tcp", "--volume", "loud", env=installed)
    assert refused.returncode == 2
    assert b"volume" in refused.stderr
    assert b"a whole number" in refused.stderr


def test_installed_models_are_listed_behind_the_built_in_ones(installed: dict[str, str]) -> None:
    found = modes_by_name(installed)
    assert list(found) == [
        *BUILT_IN,
        *(f"{kind}shout-{t}" for kind in ("", "prefork-") for t in (*TRANSPORTS, "tls", "raw")),
    ]
    assert found["shout-udp"] == {
        "name": "shout-udp",
        "model": "shout",
        "transport": "udp",
        "aliases": [],
        "available": True,
        "reason": None,
    }
    table = run_cli("modes", env=installed).stdout.decode()
    assert "the loop, loudly" in table
    assert "the hard of hearing" in table


def test_an_installed_handler_runs_in_a_built_in_mode_and_is_named_where_one_is_unknown(
    installed: dict[str, str], folder: Path
) -> None:
    arguments = serve_arguments("threading-tcp", folder)
    with program(*arguments, "--handler", "shout", env=installed) as served:
        with EchoClient(served.url) as client:
            client.send(b"hello")
            assert client.receive() == b"HELLO!"
        assert served.stop()[0] == 0
    refused = run_cli("--handler", "shot", env=installed)
    assert refused.returncode == 2
    assert b"known are echo, timestamp, upper, discard, shout, or MODULE:CLASS" in refused.stderr


# --- packages that are broken -----------------------------------------------------------

BUILT_IN = EVERY_NAME


def add_package(folder: Path, entry_points: str, source: str = "") -> dict[str, str]:
    """An environment in which a package with these files is installed."""
    info = folder / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (folder / "strange.py").write_text(source)
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"}


MODEL = """
from echoservers import ServingMixIn
class Model(ServingMixIn):
    transports = {transports}
"""


@pytest.mark.parametrize(
    ("name", "value", "source", "reason"),
    [
        ("strange", "no_such_module:Model", "", "ModuleNotFoundError"),
        ("strange", "strange:Model", "", "AttributeError"),
        ("strange", "strange:Model", "class Model(", "SyntaxError"),
        ("strange", "strange:Model", "1 / 0", "division by zero"),
        ("strange", "strange:Model", "import sys; sys.exit('bye')", "bye"),
        ("strange", "strange:Model", "Model = 7", "7 is no model"),
        ("strange", "strange:Model", "class Model: pass", "expected a class over ServingMixIn"),
        ("strange", "strange:Model", MODEL.format(transports="['sctp']"), "sctp"),
        ("strange", "strange:Model", MODEL.format(transports="'tcp'"), "there are tcp, udp"),
        ("Strange", "strange:Model", MODEL.format(transports="None"), "lower-case"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_listed_with_the_reason_and_harms_no_other(
    name: str, value: str, source: str, reason: str, folder: Path
) -> None:
    environment = add_package(folder, f"[echoservers.models]\n{name} = {value}\n", source)
    found = modes_by_name(environment)
    assert list(found)[: len(BUILT_IN)] == BUILT_IN
    assert [name for name in BUILT_IN if found[name]["available"]] == AVAILABLE
    assert found[f"{name}-tcp"]["available"] is False
    assert reason in found[f"{name}-tcp"]["reason"]
    assert b"no: " in run_cli("modes", env=environment).stdout
    refused = run_cli("--mode", f"{name}-tcp", env=environment)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"echoservers: error: {name}-tcp is not available".encode())
    assert reason in refused.stderr.decode()
    assert refused.stderr.count(b"\n") == 1
    unknown = run_cli("--mode", "treading-tcp", env=environment)
    assert b"did you mean threading-tcp" in unknown.stderr


@pytest.mark.parametrize("name", ["threading", "iterative", "tcp"])
def test_a_package_cannot_take_a_name_of_ours(name: str, folder: Path) -> None:
    source = MODEL.format(transports="None")
    environment = add_package(folder, f"[echoservers.models]\n{name} = strange:Model\n", source)
    done = run_cli("modes", "--json", env=environment)
    listed = [mode["name"] for mode in json.loads(done.stdout)]
    assert listed[: len(BUILT_IN)] == BUILT_IN
    assert len(listed) == len(set(listed))
    found = modes_by_name(environment)
    assert [name for name in BUILT_IN if found[name]["available"]] == AVAILABLE


@pytest.mark.parametrize(
    ("source", "reason"), [("1 / 0", "division by zero"), ("Handler = 7", "7 is no handler")]
)
def test_a_handler_that_cannot_be_loaded_is_told_in_one_line(
    source: str, reason: str, folder: Path
) -> None:
    point = "[echoservers.handlers]\nstrange = strange:Handler\n"
    environment = add_package(folder, point, source)
    refused = run_cli("--handler", "strange", env=environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"echoservers: error: ")
    assert reason in refused.stderr.decode()
    assert refused.stderr.count(b"\n") == 1


def test_a_package_whose_files_cannot_be_read_harms_no_mode(folder: Path) -> None:
    environment = add_package(folder, "[echoservers.models]\nno equals sign\n")
    done = run_cli("modes", "--json", env=environment)
    assert done.returncode == 0
    assert [mode["name"] for mode in json.loads(done.stdout)] == BUILT_IN
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") <= 1
    with program(*serve_arguments("tcp", folder), env=environment) as served:
        assert served.line.startswith("tcp listening on ")
