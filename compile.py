"""Compile the pipelines for a target; check them, run one, or schedule one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipelines.catalogue import PIPELINES, compile_pipelines
from pipelines.check import (
    FOUND,
    check_no_secrets,
    check_parameters,
    check_run,
    graph,
    image_states,
    parameters_for,
    unset,
)
from pipelines.local import run_locally
from pipelines.parameters import read_parameters
from pipelines.platform import Platform
from pipelines.target import TARGETS, Target
from steam_recsys.errors import UserError

INTERRUPTED = 130
"""The exit code of what was ended with Ctrl-C, as shells have it: 128 and the signal's number."""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, compile, and do what else is asked for."""
    options = _parser().parse_args(arguments)
    try:
        _act(options)
    except UserError as error:
        sys.exit(f"compile.py: {error}")
    except KeyboardInterrupt:
        print("compile.py: interrupted; started again, it goes on from what is finished", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _act(options: argparse.Namespace) -> None:
    target = Target.load(options.target)
    name = options.submit or options.schedule or options.unschedule
    _check_options(options, target, name)
    if options.unschedule:
        print(f"compile.py: removed {platform_of(target).unschedule(name)} schedules of {name}")
        return
    given = [*(f"{key}={value}" for key, value in _own(target, name, options.param).items()), *options.param]
    parameters = read_parameters(PIPELINES[name](target), given) if name else {}
    compiled = compile_pipelines(target, options.output)
    if options.check:
        check(target, compiled)
    if options.schedule:
        cron = _cron(options, target)
        check_run(target, name, parameters)
        url = platform_of(target).schedule(options.output / f"{name}.yaml", parameters, cron)
        print(f"compile.py: scheduled, {url}")
    elif options.submit:
        check_run(target, name, parameters)
        submit(target, options.output / f"{name}.yaml", parameters, options.wait)
    elif not options.check:
        for path in compiled:
            print(f"compile.py: wrote {path}")


def check(target: Target, compiled: list[Path]) -> None:
    """Check what can be checked before a run, and print the pipelines' graphs.

    Raises:
        UserError: a parameter, an image or a compiled pipeline is not as it must be.
    """
    check_parameters(target)
    check_no_secrets(compiled)
    for path in compiled:
        print("\n".join(graph(path)))
    states = list(image_states(target))
    for image, state in states:
        print(f"image {image}: {state}")
        if state == "is missing":
            raise UserError(f"{image} is not in its registry: run make push REGISTRY={target.registry}.")
    needed = [f"set {', '.join(missing)}"] if (missing := unset(target)) else []
    if not target.python_image and any(state not in FOUND for _, state in states):
        needed.append("see that its images are there")
    if needed:
        print(f"compile.py: nothing is wrong with the target {target.name}; before a run, {' and '.join(needed)}")
    else:
        print(f"compile.py: the target {target.name} is in order")


def submit(target: Target, pipeline: Path, parameters: dict[str, Any], wait: bool) -> None:
    """Run a compiled pipeline; on this machine to its end, elsewhere as far as its start, or to its end to `wait` for.

    Raises:
        UserError: the target does not take it, or the run failed.
    """
    if target.name in ("local", "docker"):
        run_locally(pipeline, parameters, containers=target.name == "docker")
        return
    submitted = platform_of(target).submit(pipeline, parameters)
    print(f"compile.py: submitted, {submitted.url}", flush=True)
    if wait:
        submitted.wait()
        print("compile.py: the run succeeded")


def platform_of(target: Target) -> Platform:
    """The platform of a target.

    Raises:
        UserError: it has none, or the platform cannot be reached.
    """
    # Slow to import, and each needed by one target only.
    match target.name:
        case "vertex":
            from pipelines.vertex import VertexPipelines

            return VertexPipelines(target)
        case "kubeflow":
            from pipelines.kubeflow import KubeflowPipelines

            return KubeflowPipelines(target)
    raise UserError(f"The target {target.name} has no schedules: use --target vertex or kubeflow.")


def _check_options(options: argparse.Namespace, target: Target, name: str | None) -> None:
    if name is not None and name not in PIPELINES:
        raise UserError(f"There is no pipeline {name}: choose one of {', '.join(PIPELINES)}.")
    if options.param and not (options.submit or options.schedule):
        raise UserError("--param goes with --submit or --schedule: add one with a pipeline's name.")
    if options.wait and not options.submit:
        raise UserError("--wait goes with --submit: add it with a pipeline's name.")
    if options.cron and not options.schedule:
        raise UserError("--cron goes with --schedule: add it with a pipeline's name.")
    if options.schedule or options.unschedule:
        if target.name not in ("kubeflow", "vertex"):
            raise UserError(f"The target {target.name} has no schedules: use --target vertex or kubeflow.")
        if options.cron and len(options.cron.split()) != 5:
            raise UserError(f"--cron is {options.cron!r}: it must have five fields, as in 0 3 * * 1.")


def _own(target: Target, name: str | None, given: list[str]) -> dict[str, Any]:
    """The target's own parameters, where the command line has no others."""
    keys = {assignment.partition("=")[0] for assignment in given}
    return {key: value for key, value in (parameters_for(target, name) if name else {}).items() if key not in keys}


def _cron(options: argparse.Namespace, target: Target) -> str:
    cron = options.cron or target.schedules.get(options.schedule)
    if not cron:
        raise UserError(f"The target {target.name} has no schedule for {options.schedule}: add --cron.")
    return str(cron)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compile.py", description=__doc__)
    pipelines = ", ".join(PIPELINES)
    parser.add_argument("--target", choices=TARGETS, required=True, help="where the pipelines are to run")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for the YAML (%(default)s)")
    parser.add_argument("--check", action="store_true", help="check settings, images and YAML, and print the graphs")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--submit", metavar="NAME", help=f"run one of {pipelines} after compiling")
    action.add_argument("--schedule", metavar="NAME", help="run it again and again, in place of an earlier schedule")
    action.add_argument("--unschedule", metavar="NAME", help="remove its schedule")
    parser.add_argument("--cron", help="five fields, in UTC (the target's own schedule)")
    parser.add_argument("--wait", action="store_true", help="follow the submitted run, and fail if it fails")
    parser.add_argument("--param", metavar="KEY=VALUE", action="append", default=[], help="a parameter of the pipeline")
    return parser


if __name__ == "__main__":
    main()
