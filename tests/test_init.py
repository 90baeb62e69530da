"""The public names: all there, all the same objects, and all seen by a type checker."""

import ast
import importlib
import importlib.metadata
import inspect
import socketserver
import subprocess
import sys
from pathlib import Path

import pytest

import echoservers
from echoservers import _version

PACKAGE = Path(echoservers.__file__).parent
PUBLIC = [name for name in echoservers.__all__ if name != "__version__"]


def type_checking_imports() -> list[ast.ImportFrom]:
    """The imports that only a type checker runs."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ]
    assert len(blocks) == 1
    imports = blocks[0].body
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    return [node for node in imports if isinstance(node, ast.ImportFrom)]


def seen_by_a_type_checker() -> dict[str, str]:
    """The names that a type checker sees, with the module that each is from."""
    seen = {}
    for node in type_checking_imports():
        for alias in node.names:
            # Only `import X as X` makes a name public under strict rules (PEP 484).
            assert alias.asname == alias.name
            seen[alias.name] = f"echoservers.{node.module}"
    return seen


def test_a_type_checker_sees_what_the_package_has() -> None:
    assert sorted(seen_by_a_type_checker()) == sorted(PUBLIC)
    assert len(set(echoservers.__all__)) == len(echoservers.__all__)


def test_a_public_name_is_the_object_that_its_own_module_has() -> None:
    for name, home in seen_by_a_type_checker().items():
        module = importlib.import_module(home)
        assert getattr(echoservers, name) is getattr(module, name), name
        assert getattr(echoservers, name) is getattr(echoservers, name), name
        assert name in module.__all__, name


def test_a_public_name_is_documented_where_it_lives() -> None:
    for name, home in seen_by_a_type_checker().items():
        value = getattr(echoservers, name)
        assert inspect.getdoc(value), name
        assert value.__module__ == home, name


def test_a_star_import_brings_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from echoservers import *", names)
    assert names.keys() - {"__builtins__"} == set(echoservers.__all__)


def test_dir_lists_every_public_name_once() -> None:
    assert echoservers.EchoHandler is not None  # loaded, and still listed once
    listed = dir(echoservers)
    assert set(echoservers.__all__) <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("missing", "names", "reason"),
    [
        (
            "gevent",
            [name for name in PUBLIC if name.startswith("Gevent")],
            "gevent is not installed; pip install echoservers[gevent]",
        ),
        ("_ssl", ["TLSServer"], "this Python was built without ssl"),
    ],
)
def test_what_cannot_be_imported_here_is_not_listed_and_says_why(
    missing: str, names: list[str], reason: str
) -> None:
    code = (
        "import inspect, sys\n"
        "missing, reason, *names = sys.argv[1:]\n"
        "sys.modules[missing] = None\n"
        "import echoservers\n"
        "listed = set(echoservers.__all__)\n"
        "from echoservers import *\n"
        "assert EchoServersError is echoservers.EchoServersError\n"
        "assert listed <= dict(inspect.getmembers(echoservers)).keys()\n"
        "assert not set(names) & ({*listed} | {*dir(echoservers)} | {*globals()}), names\n"
        "for name in names:\n"
        "    for code in (f'echoservers.{name}', f'from echoservers import {name}'):\n"
        "        try:\n"
        "            exec(code)\n"
        "        except ModuleNotFoundError as error:\n"
        "            assert (str(error), error.name) == (reason, missing), error\n"
        "        else:\n"
        "            raise AssertionError(code)\n"
        "del sys.modules[missing]  # as if it were installed now\n"
        "assert set(echoservers.__all__) == listed | set(names) <= set(dir(echoservers))\n"
    )
    command = [sys.executable, "-c", code, missing, reason, *names]
    subprocess.run(command, cwd=PACKAGE.parent, check=True)


def test_listing_the_names_imports_none_of_what_may_not_be_installed() -> None:
    code = (
        "import sys, echoservers\n"
        "assert 'GeventMixIn' in dir(echoservers) and 'TLSServer' in echoservers.__all__\n"
        "assert not sys.modules.keys() & {'gevent', 'ssl', 'echoservers.tls'}\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'echoservers' has no attribute 'TCPServe'"):
        echoservers.TCPServe  # noqa: B018
    with pytest.raises(ImportError):
        exec("from echoservers import TCPServe")


@pytest.mark.parametrize("model", ["", "Threading", "Forking"])
@pytest.mark.parametrize("transport", ["TCP", "UDP", "UnixStream", "UnixDatagram"])
def test_the_classes_of_socketserver_have_a_drop_in_by_their_name(
    model: str, transport: str
) -> None:
    name = f"{model}{transport}Server"
    ours = getattr(echoservers, name)
    assert ours.__name__ == name
    assert issubclass(ours, echoservers.ServingMixIn)
    assert issubclass(ours, getattr(socketserver, f"{transport}Server"))
    if model:
        assert issubclass(ours, getattr(echoservers, f"{model}MixIn"))
        assert issubclass(ours, getattr(echoservers, f"{transport}Server"))


def test_a_drop_in_is_made_with_the_arguments_of_socketserver() -> None:
    for name in ("TCPServer", "UDPServer"):
        theirs = inspect.signature(getattr(socketserver, name)).parameters
        with getattr(echoservers, name)(
            server_address=("127.0.0.1", 0),
            RequestHandlerClass=echoservers.EchoHandler,
            bind_and_activate=True,
        ) as server:
            assert set(theirs) == {"server_address", "RequestHandlerClass", "bind_and_activate"}
            assert server.server_address[1] != 0


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "import echoservers\n"
        "loaded = {name for name in sys.modules if name.startswith('echoservers')}\n"
        "assert loaded == {'echoservers', 'echoservers._version'}, loaded\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], timeout=20, check=True)


def test_there_is_one_version() -> None:
    assert echoservers.__version__ == _version.__version__
    try:
        installed = importlib.metadata.version("echoservers")
    except importlib.metadata.PackageNotFoundError:
        return  # run from a checkout
    assert installed == echoservers.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


OF_THE_LAB = ("jinja2", "locust", "markupsafe", "matplotlib", "numpy", "rich")
"""What not every environment has: where one is missing, the modules that need it are left out."""


def test_every_module_exports_only_what_it_has() -> None:
    """In a process of its own, since gevent, which Locust brings, changes the whole of it."""
    code = (
        "import importlib, sys\n"
        "for dotted in sys.argv[1:]:\n"
        "    try:\n"
        "        module = importlib.import_module(dotted)\n"
        "    except ModuleNotFoundError as missing:\n"
        f"        if missing.name not in {OF_THE_LAB}:\n"
        "            raise\n"
        "        continue\n"
        "    for name in getattr(module, '__all__', ()):\n"
        "        assert hasattr(module, name), f'{dotted}.{name}'\n"
    )
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    modules = sorted(name.removesuffix(".__init__") for name in names)
    assert len(modules) > 100
    subprocess.run([sys.executable, "-c", code, *modules], cwd=PACKAGE.parent, check=True)
