"""What the benchmarks write down: rows of ours beside a peer, each measured in a process of its own.

A process begins with the peak memory of the one that starts it: who calls this imports little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""`what`, `ours`, `peer`, `peer_name`, `ratio`, `must`, `met`."""


def part(name: str, description: str | None, rows: Callable[[], list[Row]]) -> None:
    """Read the command line of a part of a benchmark, measure it, print its rows and write them to `<name>.json`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    found = rows()
    show(found)
    (options.output / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def measured(module: str, *arguments: str) -> Any:
    """What a module measures in a process of its own, whose last argument is where to write it, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        subprocess.run([sys.executable, "-m", module, *arguments, str(path)], check=True)
        return json.loads(path.read_text())


def peak_mb() -> float:
    """The most memory that this process, or one that it waited for, has held so far, in MB."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(process).ru_maxrss for process in processes) / 1024


def at_most(what: str, ours: float, must: float | None = None) -> Row:
    """A row without a peer, met where the figure is at most `must`."""
    return _row(what, ours, None, None, None, must, must is None or ours <= must)


def times_as_much(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row whose ratio is ours over the peer's, met where it is at most `must`."""
    ratio = ours / peer
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio <= must)


def times_faster(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row of times whose ratio is the peer's over ours, met where it is more than `must`."""
    ratio = peer / ours
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio > must)


def show(rows: list[Row]) -> None:
    """Print rows, a line each."""
    for row in rows:
        beside = f", {row['peer_name']} {row['peer']}, ratio {row['ratio']}" if row["peer"] is not None else ""
        must = "" if row["must"] is None else f", must {row['must']}: {'met' if row['met'] else 'not met'}"
        print(f"[benchmark] {row['what']}: {row['ours']}{beside}{must}", flush=True)


def _row(
    what: str,
    ours: float,
    peer: float | None,
    peer_name: str | None,
    ratio: float | None,
    must: float | None,
    met: bool,
) -> Row:
    figures = {"what": what, "ours": _rounded(ours), "peer": _rounded(peer), "peer_name": peer_name}
    return {**figures, "ratio": _rounded(ratio), "must": must, "met": met}


def _rounded(figure: float | None) -> float | None:
    return figure if figure is None else round(figure, 4)
