"""Compile the pipelines for a target, and run one of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.shared.errors import UserError
from pipelines.catalogue import PIPELINES, compile_pipelines
from pipelines.local import run_locally
from pipelines.parameters import read_parameters
from pipelines.target import TARGETS, Target


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, compile, and submit where that is asked for."""
    options = _parser().parse_args(arguments)
    try:
        target = Target.load(options.target)
        if options.param and not options.submit:
            raise UserError("--param goes with --submit: add --submit and a pipeline's name.")
        if options.submit:
            submit(target, options.submit, options.param, options.output)
        else:
            for path in compile_pipelines(target, options.output):
                print(f"compile.py: wrote {path}")
    except UserError as error:
        sys.exit(f"compile.py: {error}")


def submit(target: Target, name: str, assignments: list[str], output: Path) -> None:
    """Check a pipeline's name and parameters, compile, and run it.

    Raises:
        UserError: the name, a parameter or its value is not allowed, the target cannot be submitted to, or the run
            failed.
    """
    if name not in PIPELINES:
        raise UserError(f"There is no pipeline {name}: choose one of {', '.join(PIPELINES)}.")
    parameters = read_parameters(PIPELINES[name](target), assignments)
    if target.name not in ("local", "docker"):
        raise UserError(f"The target {target.name} cannot be submitted to yet: use --target local or docker.")
    compile_pipelines(target, output)
    run_locally(output / f"{name}.yaml", parameters, containers=target.name == "docker")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compile.py", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, required=True, help="where the pipelines are to run")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for the YAML (%(default)s)")
    parser.add_argument("--submit", metavar="NAME", help=f"run one of {', '.join(PIPELINES)} after compiling")
    parser.add_argument(
        "--param", metavar="KEY=VALUE", action="append", default=[], help="a parameter of the submitted pipeline"
    )
    return parser


if __name__ == "__main__":
    main()
