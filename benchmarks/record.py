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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""`what`, `ours`, `peer`, `peer_name`, `ratio`, `must`, `met`."""


def part(name: str, description: str | None, rows: Callable[[], Iterable[Row]]) -> None:
    """Read a benchmark's command line; print its rows and write them to `<name>.json`, each as soon as it comes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for row in rows():
        show(row)
        found.append(row)
        write(options.output / f"{name}.json", found)


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON."""
    path.write_text(json.dumps(rows, indent=2) + "\n")


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
    return _row(what, ours, must=must, met=must is None or ours <= must)


def at_least(what: str, ours: float, must: float | None = None) -> Row:
    """A row without a peer, met where the figure is at least `must`."""
    return _row(what, ours, must=must, met=must is None or ours >= must)


def below(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row beside a peer, met where the figure itself, not its ratio to the peer's, is below `must`."""
    return _row(what, ours, peer, peer_name, ours / peer, must, must is None or ours < must)


def times_as_much(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row whose ratio is ours over the peer's, met where it is at most `must`."""
    ratio = ours / peer
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio <= must)


def times_as_many(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row whose ratio is ours over the peer's, met where it is at least `must`."""
    ratio = ours / peer
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio >= must)


def times_faster(what: str, ours: float | None, peer: float, peer_name: str, must: float | None = None) -> Row:
    """A row of times whose ratio is the peer's over ours, met where it is more than `must`; None was never reached."""
    ratio = None if ours is None else peer / ours
    return _row(what, ours, peer, peer_name, ratio, must, must is None or (ratio is not None and ratio > must))


def show(row: Row) -> None:
    """Print a row on a line."""
    beside = f", {row['peer_name']} {row['peer']}, ratio {row['ratio']}" if row["peer"] is not None else ""
    must = "" if row["must"] is None else f", must {row['must']}: {'met' if row['met'] else 'not met'}"
    print(f"[benchmark] {row['what']}: {row['ours']}{beside}{must}", flush=True)


def _row(
    what: str,
    ours: float | None,
    peer: float | None = None,
    peer_name: str | None = None,
    ratio: float | None = None,
    must: float | None = None,
    met: bool = True,
) -> Row:
    figures = {"what": what, "ours": _rounded(ours), "peer": _rounded(peer), "peer_name": peer_name}
    return {**figures, "ratio": _rounded(ratio), "must": must, "met": met}


def _rounded(figure: float | None) -> float | None:
    """To four decimals, and to four digits where less than a tenth would lose them."""
    if figure is None:
        return None
    return round(figure, 4) if abs(figure) >= 0.1 else float(f"{figure:.4g}")
