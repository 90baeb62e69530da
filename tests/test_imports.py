"""What is not used is not imported: naming a mode, and serving it, load little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import echoservers
from echoservers.registry import find_mode
from support import (
    NAMES,
    program,
    receive_all,
    serve_arguments,
)

PACKAGE = Path(echoservers.__file__).parent

MODULE_OF_MODEL = {
    "iterative": set(),
    "threading": {"threads"},
    "forking": {"forks"},
    "select": {"reactors"},
    "poll": {"reactors"},
    "epoll": {"reactors"},
    "thread-pool": {"thread_pool"},
    "prethreading": {"prethreading"},
    "asyncio": {"coroutines"},
    "uvloop": {"coroutines"},
    "gevent": {"greenlets"},
}


def modules_of(model: str) -> set[str]:
    if model == "prefork" or model.startswith("prefork-"):
        inner = model.removeprefix("prefork").removeprefix("-") or "iterative"
        return {"prefork"} | MODULE_OF_MODEL[inner]
    return MODULE_OF_MODEL[model]


HEAVY = {"asyncio", "ssl", "multiprocessing", "concurrent.futures", "matplotlib", "readline"}


@pytest.mark.parametrize("name", [name for name in NAMES if find_mode(name).model != "gevent"])
def test_naming_a_mode_imports_its_own_model_and_nothing_heavy(name: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "from echoservers import mode, registry, server_class\n"
        "mode.is_installed = lambda package: True\n"  # the path has no other packages
        f"registry.find_mode({name!r})\n"
        "assert not any(m.startswith('echoservers.models') for m in sys.modules)\n"
        f"server_class({name!r})\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], timeout=20, check=True, capture_output=True
    )
    loaded = set(done.stdout.decode().split())
    models = {module for module in loaded if module.startswith("echoservers.models.")}
    assert models == {f"echoservers.models.{m}" for m in modules_of(find_mode(name).model)}
    # importlib.metadata, too: a name that is built in is found without it.
    if "echoservers.models.coroutines" in models:  # asyncio brings much with it
        assert not loaded & {"uvloop", "importlib.metadata", "argparse", "matplotlib"}
    else:
        assert not loaded & (HEAVY | {"importlib.metadata", "argparse", "inspect"})


def test_a_program_that_serves_a_mode_loads_no_other_and_nothing_heavy(folder: Path) -> None:
    # What measures coverage may have loaded more, before anything of ours.
    (folder / "sitecustomize.py").write_text("import sys; sys.before = set(sys.modules)\n")
    (folder / "spy.py").write_text(
        "import sys, echoservers\n"
        "class Spy(echoservers.EchoHandler):\n"
        "    def greet(self):\n"
        "        self.close_after_reply()\n"
        "        return ' '.join(set(sys.modules) - sys.before).encode()\n"
    )
    arguments = [*serve_arguments("threading-tcp", folder), "--handler", "spy:Spy"]
    environment = {"PYTHONPATH": f"{PACKAGE.parent}{os.pathsep}{folder}"}
    with program(*arguments, env=environment) as served, served.connect() as client:
        loaded = set(receive_all(client).decode().split())
    assert "echoservers.models.threads" in loaded
    assert not loaded & (HEAVY | {"echoservers.models.forks", "echoservers.client"})
