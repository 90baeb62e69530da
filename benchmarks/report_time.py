"""How long the report of a full run takes to render, and how large it is.

    python benchmarks/report_time.py [FOLDER]

Twelve modes and three programs of others, in all twelve experiments, from made-up results;
the report stays in FOLDER, if one is given.  The status is 1 where a limit is missed.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from echoservers.lab.report import write_report
from echoservers.lab.results import save
from lab_sample import sample_results

SECONDS, MEGABYTES = 20.0, 3.0
"""What the page may take to render, and how large it may be."""


def main(folder: Path) -> int:
    """0 where both are kept, else 1."""
    results = sample_results(noisy=True, finished=False)
    save(results, folder)
    began, cpu = time.perf_counter(), time.process_time()
    files = write_report(results, folder)
    took, worked = time.perf_counter() - began, time.process_time() - cpu
    sizes = [file.stat().st_size / 1e6 for file in files]
    print(f"rendered in {took:.1f} s ({worked:.1f} s CPU; less than {SECONDS:g} s is wanted)")
    print(f"{files[0].name}: {sizes[0]:.2f} MB (less than {MEGABYTES:g} MB is wanted)")
    print(f"{len(files)} files: {sum(sizes):.2f} MB")
    kept = took < SECONDS and sizes[0] < MEGABYTES
    print("both are kept" if kept else "MISSED")
    return 0 if kept else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = Path(sys.argv[1])
        chosen.mkdir(parents=True, exist_ok=True)
        sys.exit(main(chosen))
    else:
        with tempfile.TemporaryDirectory() as made:
            status = main(Path(made))
        sys.exit(status)
