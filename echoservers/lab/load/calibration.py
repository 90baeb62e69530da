"""Whether it was the generator that set the pace: its ceiling, and when it was near it.

A generator that is always busy measures itself.  Its ceiling is the rate at which its one
processor has nothing left: messages a second, divided by the share of the time for which
they kept it busy.  That is measured against a reflector, the cheapest server there can be
without a C compiler, on a processor of its own, with the same load as is to be measured.
No faster reflector is needed: the less often the generator waits the fewer waits each message
pays for, so that what is said of it beyond the measured point is rather too low than too high,
and a run is called limited too early rather than too late.

The ceiling alone would not find a generator that is held up in this one run, by a server on
its processor or by the machine.  So what counts is, first, how busy it was in the run itself:
time in which it was ready and had no processor counts as busy, and so does time in which it
was stopped, since all that does not count is the wait for the server.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .plan import LoadPlan
from .result import LoadResult
from .run import LoadError, program_environment, run_load

__all__ = ["Ceiling", "calibrate", "generator_limit"]

LIMIT = 0.9
"""The share of its ceiling from which on the generator sets the pace: beyond it queues of its
own form, and what they add to a latency is a multiple of the time that a message takes."""

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
    measured_rate: float
    """What the reflector and it reached together."""
    busy: float
    """The share of the time for which that kept it busy."""


def calibrate(
    plan: LoadPlan,
    cpus: frozenset[int] | set[int] | None = None,
    reflector_cpus: frozenset[int] | set[int] | None = None,
    seconds: float = SECONDS,
) -> Ceiling:
    """The ceiling for a load like that of *plan*, whose endpoint is not used.

    :param cpus: what the generator runs on, as it will when it measures.
    :param reflector_cpus: what the reflector runs on: the server's.
    :raises LoadError: the reflector could not be started, or did not answer.
    """
    with _reflector(plan.transport, reflector_cpus) as endpoint:
        result = run_load(
            replace(
                plan,
                endpoint=endpoint,
                duration=seconds,
                warmup=WARMUP,
                requests=None,
                idle=0,
                slow=0,
                silent=0,
                half=0,
            ),
            cpus,
        )
    if result.ended or not result.received or not result.busy:
        raise LoadError(f"the reflector gave no answer: {result.ended or 'no message came'}")
    return Ceiling(
        shape=plan.shape,
        transport=plan.transport,
        connections=plan.connections,
        size=plan.size,
        pipeline=plan.pipeline,
        rate=result.throughput / result.busy,
        measured_rate=result.throughput,
        busy=result.busy,
    )


def generator_limit(result: LoadResult, ceiling: Ceiling | None = None) -> str | None:
    """Why *result* tells of the generator rather than of the server; None: it does not."""
    if result.busy >= LIMIT:
        return f"the generator was busy for {result.busy:.0%} of the time"
    if ceiling is not None and result.throughput >= LIMIT * ceiling.rate:
        return (
            f"{result.throughput:,.0f} messages/s are {result.throughput / ceiling.rate:.0%} of"
            f" the {ceiling.rate:,.0f} that the generator can make"
        )
    if len(result.lateness) and len(result.latencies):
        import numpy as np

        late = float(np.percentile(result.lateness, 99))
        tail = float(np.percentile(result.latencies, 99))
        if late > TAIL * tail:
            return (
                f"messages left {late * 1e6:,.0f} us late (p99), of {tail * 1e6:,.0f} us that"
                " their replies took"
            )
    return None


@contextlib.contextmanager
def _reflector(transport: str, cpus: frozenset[int] | set[int] | None) -> Iterator[str]:
    """A reflector that serves, and its endpoint."""
    if transport == "tls":
        from ...targets import RunningTarget, Target

        pinned = None if cpus is None else frozenset(cpus)
        with RunningTarget(Target.of_mode("epoll-tls"), cpus=pinned) as target:
            yield target.endpoint
        return
    with tempfile.TemporaryDirectory(prefix="echo") as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-m", f"{__package__}.reflector", transport),
                *([str(Path(folder, "reflector"))] if transport.startswith("unix") else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=program_environment(),
        )
        try:
            if cpus is not None:
                os.sched_setaffinity(process.pid, cpus)
            assert process.stdout is not None
            endpoint = process.stdout.readline().decode().strip()
            if not endpoint:
                raise LoadError("the reflector could not be started")
            yield endpoint
        finally:
            process.kill()
            process.communicate()
