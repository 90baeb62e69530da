"""Whether it was the generator that set the pace: its ceiling, and when it was near it.

A generator that is always busy measures itself.  Its ceiling is the rate at which its one
processor has nothing left, the inverse of the time that a message takes of it.  To tell that,
generator and reflector (the cheapest server there can be without a C compiler) are put on the
*same* processor: then neither ever sleeps, the generator finds as many replies at a time as it
will when it is pressed hardest, and its CPU time is its own, whatever the reflector takes and
whoever else uses the machine.  With a processor for each, the generator would wait for the
reflector, and pay for a sleep with nearly every message; what is left of its time is then no
measure of what it could do.

The ceiling alone would not find a generator that is held up in one run, by a server on its
processor or by the machine.  So what counts first is how busy it was in the run itself: time
in which it was ready and had no processor counts as busy, and so does time in which it was
stopped, since all that does not count is the wait for the server.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import EchoServersError
from ...system import usable_cpus
from .plan import LoadPlan
from .result import LoadResult
from .run import LoadError, program_environment, run_load

__all__ = ["Ceiling", "calibrate", "generator_limit"]

LIMIT = 0.9
"""The share of its ceiling from which on the generator sets the pace: beyond it queues of its
own form, and what they add to a latency is a multiple of the time that a message takes."""

END_TIME = 2.0
"""Seconds for the reflector to end by itself."""

DELAYED = 0.25
"""The share of the time for which the generator may wait for a processor: with one of its own,
on a quiet machine, it is a hundredth; with the server on the same one it is near a half."""

TAIL = 0.5
"""The share of the 99th percentile that may be the generator's own lateness: beyond it the tail
is more its own than the server's."""

SECONDS, WARMUP = 0.4, 0.1
"""Of a calibration: some 10,000 messages, and every matrix of cells needs a few of them."""


@dataclass(frozen=True)
class Ceiling:
    """What the generator can do at most, with one kind of load."""

    shape: str
    transport: str
    connections: int
    size: int
    pipeline: int
    rate: float
    """Messages a second (of churn: connections) at which it would always be busy."""

    @property
    def cost(self) -> float:
        """Seconds of its processor that a message takes."""
        return 1 / self.rate


def calibrate(
    plan: LoadPlan, cpus: frozenset[int] | set[int] | None = None, seconds: float = SECONDS
) -> Ceiling:
    """The ceiling for a load like that of *plan*, whose endpoint is not used.

    What is sent as scheduled costs what it costs in a closed loop.

    :param cpus: what the generator runs on, as it will when it measures; one of them is used.
    :param seconds: of the run; its start takes as long again.
    :raises LoadError: the reflector could not be started, or did not answer.
    """
    one = frozenset([min(cpus or usable_cpus())])
    shape = "closed" if plan.is_scheduled else plan.shape
    load = replace(plan, shape=shape, duration=seconds, warmup=WARMUP, requests=None, rate=None)
    load = replace(load, idle=0, slow=0, silent=0, half=0)
    with _reflector(plan.transport, one) as endpoint:
        result = run_load(replace(load, endpoint=endpoint), one)
        if not result.received:  # on a busy machine the time can pass without a turn of theirs
            result = run_load(replace(load, endpoint=endpoint, duration=10 * seconds), one)
    if result.ended or not result.received or not result.cpu_seconds:
        raise LoadError(f"the reflector gave no answer: {result.ended or 'no message came'}")
    return Ceiling(
        shape=plan.shape,
        transport=plan.transport,
        connections=plan.connections,
        size=plan.size,
        pipeline=plan.pipeline,
        rate=result.received / result.cpu_seconds,
    )


def generator_limit(result: LoadResult, ceiling: Ceiling | None = None) -> str | None:
    """Why *result* tells of the generator rather than of the server; None: it does not."""
    if result.busy >= LIMIT:
        return f"the generator was busy for {result.busy:.0%} of the time"
    if result.seconds and result.delayed >= DELAYED * result.seconds:
        return (
            f"the generator had no processor to run on for {result.delayed / result.seconds:.0%}"
            " of the time"
        )
    if ceiling is not None and result.throughput >= LIMIT * ceiling.rate:
        return (
            f"{result.throughput:,.0f} messages/s are {result.throughput / ceiling.rate:.0%} of"
            f" the {ceiling.rate:,.0f} that the generator can make"
        )
    if len(result.lateness):
        import numpy as np

        late = float(np.percentile(result.lateness, 99))
        tail = float(np.percentile(result.latencies, 99)) if result.received else 0.0
        if late > TAIL * tail:
            return (
                f"messages left {late * 1e6:,.0f} us late (p99), of {tail * 1e6:,.0f} us that"
                " their replies took"
            )
    return None


@contextlib.contextmanager
def _reflector(transport: str, cpus: frozenset[int]) -> Iterator[str]:
    """A reflector that serves, and its endpoint."""
    if transport == "tls":
        from ...targets import RunningTarget, Target

        try:
            reflector = RunningTarget(Target.of_mode("epoll-tls"), cpus=cpus)
        except EchoServersError as error:
            raise LoadError(f"the reflector could not be started: {error}") from error
        with reflector as target:
            yield target.endpoint
        return
    with tempfile.TemporaryDirectory(prefix="echo") as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", f"{__package__}.reflector", transport),
                *([str(Path(folder, "reflector"))] if transport.startswith("unix") else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=program_environment(),
        )
        try:
            os.sched_setaffinity(process.pid, cpus)
            assert process.stdout is not None
            endpoint = process.stdout.readline().decode().strip()
            if not endpoint:
                raise LoadError("the reflector could not be started")
            yield endpoint
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=END_TIME)  # it ends with its input
            process.kill()
            process.communicate()
