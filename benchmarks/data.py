"""`make benchmark-data`: extraction, prediction, publication and the whole loop at the size of a large shop.

Each part starts its sides in processes of their own; this one imports little, as a process begins with the peak memory
of the one that starts it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.record import Row, show

PARTS = ("extraction", "prediction", "loop")


def main() -> None:
    """Read the command line, run the parts, print their figures and write them down as they come."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again (all)")
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    run(options.part or PARTS, options.output)


def run(parts: Sequence[str], output: Path) -> None:
    """Measure some parts, each into a file of its own; `data.json` has the rows of all that were measured so far."""
    folder = output / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"[benchmark] {part}", flush=True)
        measure: Callable[[], list[Row]] = import_module(f"benchmarks.{part}").rows
        rows = measure()
        show(rows)
        (folder / f"{part}.json").write_text(json.dumps(rows, indent=2) + "\n")
        files = [folder / f"{name}.json" for name in PARTS]
        record = [row for file in files if file.exists() for row in json.loads(file.read_text())]
        (output / "data.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
