"""What the results were measured on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def describe_machine() -> dict[str, str]:
    """Return what the results depend on besides the settings."""
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Date": time.strftime("%Y-%m-%d"),
        "Load average before": load_average(),
    }


def cpu_model() -> str:
    """Return the name of the processor as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def load_average() -> str:
    """Return the load of the last minute, with that of a benchmark which ran in it."""
    return f"{os.getloadavg()[0]:.2f}"
