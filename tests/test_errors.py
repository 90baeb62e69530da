"""The exception tree: as its docstring draws it, and as callers catch it."""

import errno
import inspect
import pickle
import re
from pathlib import Path

import pytest

import echoservers
from echoservers import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


def drawn_tree() -> dict[str, str]:
    """Each class of the docstring's drawing, with the one that it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        found = re.match(r" +(?:\+-- )?([A-Z]\w+)(?= |$)", line)
        if found:
            column, name = found.start(1), found[1]
            above = [(other, parent) for other, parent in above if other < column]
            parents[name] = above[-1][1] if above else ""
            above.append((column, name))
    return parents


def test_the_docstring_draws_the_tree_that_the_code_has() -> None:
    real = {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}
    real["EchoServersError"] = ""
    assert drawn_tree() == real


def test_the_docstring_tells_of_every_class_what_it_means() -> None:
    for name in drawn_tree().keys() - {"EchoServersError"}:
        assert re.search(rf"{name} +[a-z]", str(errors.__doc__)), name


def test_all_names_every_exception_of_the_module() -> None:
    defined = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert sorted(defined) == errors.__all__


@pytest.mark.parametrize("cls", CLASSES)
def test_one_name_catches_everything_of_ours_and_nothing_else(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.EchoServersError)
    assert issubclass(cls, Exception)
    assert not issubclass(cls, OSError)
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_to_another_process(cls: type[Exception]) -> None:
    copy = pickle.loads(pickle.dumps(cls("what is wrong; what is right")))
    assert type(copy) is cls
    assert str(copy) == "what is wrong; what is right"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.UnknownMode, LookupError),
        (errors.HandlerNotSupported, TypeError),
        (errors.OptionError, ValueError),
        (errors.EndpointError, ValueError),
    ],
)
def test_an_error_is_also_the_built_in_one_that_a_caller_may_expect(
    cls: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(cls, builtin)
    assert not issubclass(cls, KeyError)  # whose text comes out in quotes


def test_a_fault_of_the_system_stays_the_error_of_the_system(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        echoservers.create_server("unix-stream", str(folder / "missing" / "e.sock"))
    with (
        echoservers.create_server("tcp", ("127.0.0.1", 0)) as server,
        pytest.raises(OSError, match="in use") as caught,
    ):
        echoservers.create_server("tcp", server.server_address)
    assert type(caught.value) is OSError
    assert caught.value.errno == errno.EADDRINUSE
