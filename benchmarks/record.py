"""`make benchmark-data`: the stages that move data, retrieval, and the whole loop at the size of a large shop.

Also what every benchmark shares: rows of our figure beside a peer's, and steps that run in their own process. A process
starts with the peak memory of its parent, so this module imports little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steam_recsys.stage import max_rss_mb

PARTS = ("ingestion", "extraction", "retrieval", "prediction", "publishing", "refresh", "loop")
OUTPUT = Path("local/benchmarks")

Row = dict[str, Any]
"""One line of a record, with the keys `what`, `ours`, `peer`, `peer_name`, `ratio`, `must`, `met`."""


def main() -> None:
    """Run the parts that the command line names and gather their rows in `data.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="run only this part; may be repeated")
    parser.add_argument("--size", help="number of reviews of the loop: see python -m benchmarks.loop --help")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    if options.size and options.part != ["loop"]:
        parser.error("--size is for --part loop only.")
    run_parts(options.part or PARTS, options.output, ["--size", options.size] if options.size else [])


def run_parts(parts: Sequence[str], output: Path, options: Sequence[str]) -> None:
    """Run some parts, each as `python -m benchmarks.<part>` with the same options."""
    for part in parts:
        print(f"[benchmark] {part}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}", "--output", str(output), *options], check=True)
        gather(output)


def gather(output: Path) -> None:
    """Write the rows of all parts measured so far to `data.json`."""
    files = [output / f"{part}.json" for part in PARTS]
    write(output / "data.json", [row for file in files if file.exists() for row in json.loads(file.read_text())])


def run_benchmark(
    name: str,
    description: str | None,
    rows: Callable[..., Iterable[Row]],
    steps: Mapping[str, Callable[..., Any]] | None = None,
    sizes: Sequence[str] = (),
) -> None:
    """Run a benchmark's command line: print each row and write it to `<name>.json` as soon as it is measured.

    Args:
        name: Name of the benchmark's module.
        description: Text for `--help`.
        rows: Measures everything, at one of the sizes if there are any.
        steps: Functions that `measured` runs in their own process; each takes texts and returns values for JSON.
        sizes: Names of the sizes that `--size` chooses from; the first one is the default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    if steps:
        parser.add_argument("--step", nargs="+", metavar="TEXT", help="run one step only: its name, arguments, record")
    if sizes:
        parser.add_argument("--size", choices=sizes, default=sizes[0], help="number of reviews (%(default)s)")
    options = parser.parse_args()
    if steps and options.step:
        step, *arguments, record = options.step
        Path(record).write_text(json.dumps(steps[step](*arguments)))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for row in rows(options.size) if sizes else rows():
        show(row)
        found.append(row)
        write(options.output / f"{name}.json", found)


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON."""
    path.write_text(json.dumps(rows, indent=2) + "\n")


def measured(module: str, step: str, *arguments: str) -> Any:
    """Run one step of a benchmark in a new process and return what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        subprocess.run([sys.executable, "-m", module, "--step", step, *arguments, str(path)], check=True)
        return json.loads(path.read_text())


def peak_mb() -> float:
    """Return the peak memory so far of this process and of those that it waited for, in MB."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(map(max_rss_mb, processes))


def at_most(what: str, ours: float, must: float | None = None) -> Row:
    """Build a row without a peer, met if the figure is at most `must`."""
    return _row(what, ours, must=must, met=must is None or ours <= must)


def at_least(what: str, ours: float, must: float | None = None) -> Row:
    """Build a row without a peer, met if the figure is at least `must`."""
    return _row(what, ours, must=must, met=must is None or ours >= must)


def below(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """Build a row beside a peer, met if the figure itself, not its ratio to the peer's, is below `must`."""
    return _row(what, ours, peer, peer_name, ours / peer, must, must is None or ours < must)


def times_as_much(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """Build a row whose ratio is ours over the peer's, met if it is at most `must`."""
    ratio = ours / peer
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio <= must)


def times_as_many(what: str, ours: float, peer: float, peer_name: str, must: float | None = None) -> Row:
    """Build a row whose ratio is ours over the peer's, met if it is at least `must`."""
    ratio = ours / peer
    return _row(what, ours, peer, peer_name, ratio, must, must is None or ratio >= must)


def times_faster(what: str, ours: float | None, peer: float, peer_name: str, must: float | None = None) -> Row:
    """Build a row of times whose ratio is the peer's over ours, met if it is more than `must`.

    Ours is None if it never got there.
    """
    ratio = None if ours is None else peer / ours
    return _row(what, ours, peer, peer_name, ratio, must, must is None or (ratio is not None and ratio > must))


def show(row: Row) -> None:
    """Print a row as one line."""
    peer = f", {row['peer_name']} {row['peer']}, ratio {row['ratio']}" if row["peer"] is not None else ""
    must = "" if row["must"] is None else f", must {row['must']}: {'met' if row['met'] else 'not met'}"
    print(f"[benchmark] {row['what']}: {row['ours']}{peer}{must}", flush=True)


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
    """Round to four decimals, or to four significant digits below a tenth."""
    if figure is None:
        return None
    return round(figure, 4) if abs(figure) >= 0.1 else float(f"{figure:.4g}")


if __name__ == "__main__":
    main()
