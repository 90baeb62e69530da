"""Which modes the environments test: together every one, none twice, and each every model."""

import re

import pytest

import echoservers
from chosen_modes import SHARE, STRESSED_MODES, share_of, shares_of
from support import AVAILABLE, ROOT

EVERY = echoservers.modes()
SETTINGS = re.findall(
    r"^ +py3\d+: ECHOSERVERS_TEST_MODES = (\S+)$", (ROOT / "tox.ini").read_text(), re.MULTILINE
)


def modes_of(setting: str) -> list[echoservers.Mode]:
    shares, number = shares_of(setting)
    return [mode for mode in EVERY if share_of(mode, number) in shares]


def test_the_environments_together_take_every_mode_once() -> None:
    assert len(SETTINGS) == 3
    taken = [mode.name for setting in SETTINGS for mode in modes_of(setting)]
    assert sorted(taken) == sorted(mode.name for mode in EVERY)


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_environment_takes_every_model_and_every_transport(setting: str) -> None:
    modes = modes_of(setting)
    assert {mode.model for mode in modes} == {mode.model for mode in EVERY}
    assert {mode.transport for mode in modes} == {mode.transport for mode in EVERY}


def test_whatever_the_share_stress_is_for_the_models_of_socketserver() -> None:
    stressed = {mode.name for mode in STRESSED_MODES}
    for model in ("", "threading-", "forking-"):
        for transport in ("tcp", "udp", "unix-stream", "unix-datagram"):
            assert f"{model}{transport}" in stressed
    assert set(SHARE) <= set(AVAILABLE)


@pytest.mark.parametrize("setting", ["0/3", "4/3", "2-1/3"])
def test_a_share_that_there_is_not_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="expected K/N"):
        shares_of(setting)
