"""How long the report of a full run takes to render, and how large it is.

    python benchmarks/report_time.py [FOLDER]

Twelve modes and three programs of others, in all twelve experiments, from made-up results;
the report stays in FOLDER, if one is given.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from echoservers.lab.report import write_report
from echoservers.lab.results import save
from lab_sample import sample_results


def main(folder: Path) -> None:
    results = sample_results(noisy=True, finished=False)
    save(results, folder)
    began, cpu = time.perf_counter(), time.process_time()
    files = write_report(results, folder)
    print(
        f"rendered in {time.perf_counter() - began:.1f} s ({time.process_time() - cpu:.1f} s CPU)"
    )
    sizes = [file.stat().st_size for file in files]
    print(
        f"{files[0].name}: {sizes[0] / 1e6:.2f} MB; {len(files)} files: {sum(sizes) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = Path(sys.argv[1])
        chosen.mkdir(parents=True, exist_ok=True)
        main(chosen)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
