"""`make benchmark-data`: extraction, retrieval, prediction, publishing and the whole loop at the size of a large shop.

Each part is a module with a command line of its own, `python -m benchmarks.loop`, and leaves its rows in a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import write

PARTS = ("extraction", "retrieval", "prediction", "publishing", "loop")


def main() -> None:
    """Read the command line, run the parts, and write their figures down as they come."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again (all)")
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    run(options.part or PARTS, options.output)


def run(parts: Sequence[str], output: Path) -> None:
    """Measure some parts; `data.json` has the rows of all that were measured so far."""
    for part in parts:
        print(f"[benchmark] {part}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}", "--output", str(output)], check=True)
        gather(output)


def gather(output: Path) -> None:
    """Put the parts' rows together."""
    files = [output / f"{part}.json" for part in PARTS]
    record = [row for file in files if file.exists() for row in json.loads(file.read_text())]
    write(output / "data.json", record)


if __name__ == "__main__":
    main()
