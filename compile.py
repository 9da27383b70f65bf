"""Compile the pipelines for a target; check, submit or schedule them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipelines.check import (
    FOUND,
    MISSING,
    check_compiled,
    check_no_secrets,
    check_parameters,
    check_platform_settings,
    check_run,
    graph,
    image_states,
    missing_settings,
    parameters_for,
)
from pipelines.compilation import PIPELINES, build_pipeline, compile_pipelines, read_parameters
from pipelines.local import run_locally
from pipelines.platform import Platform
from pipelines.target import TARGETS, Target
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output
from steam_recsys.secrets import mask

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    mask_output()
    try:
        run(options)
    except UserError as error:
        sys.exit(f"compile.py: {mask(str(error))}")
    except KeyboardInterrupt:
        print("compile.py: interrupted; run it again: it starts over, and reuses what is finished", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run(options: argparse.Namespace) -> None:
    """Compile, then check, submit or schedule as the options say.

    Raises:
        UserError: The options, settings or pipelines are invalid, or the run failed.
    """
    target = Target.load(options.target)
    name = options.submit or options.schedule or options.unschedule
    _check_options(options, target, name)
    if options.unschedule:
        print(f"compile.py: removed {platform_of(target).unschedule(name)} schedules of {name}")
        return
    check_parameters(target)
    parameters = _parameters(target, name, options.param) if name else {}
    compiled = compile_pipelines(target, options.output)
    check_compiled(target, compiled)
    check_no_secrets(compiled)
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
    """Check settings and images before a run, and print the compiled pipelines' graphs.

    Raises:
        UserError: A setting is invalid, or an image is missing.
    """
    check_platform_settings(target)
    for path in compiled:
        print("\n".join(graph(path)))
    states = list(image_states(target))
    for image, state in states:
        print(f"image {image}: {state}")
        if state == MISSING:
            raise UserError(f"{image} is not in its registry: run make push REGISTRY={target.registry}.")
    steps = [f"set {', '.join(missing)}"] if (missing := missing_settings(target)) else []
    if not target.python_image and any(state not in FOUND for _, state in states):
        steps.append("make sure that its images exist")
    if steps:
        print(f"compile.py: the target {target.name} is valid; before a run, {' and '.join(steps)}")
    else:
        print(f"compile.py: the target {target.name} is ready")


def submit(target: Target, pipeline: Path, parameters: dict[str, Any], wait: bool) -> None:
    """Run a compiled pipeline: to its end on this machine, elsewhere only its start unless `wait` is set.

    Raises:
        UserError: The platform refused the run, or the run failed.
    """
    if target.name in ("local", "docker"):
        run_locally(pipeline, parameters, containers=target.name == "docker", retention=target.retention)
        return
    submitted = platform_of(target).submit(pipeline, parameters)
    print(f"compile.py: submitted, {submitted.url}", flush=True)
    if wait:
        try:
            submitted.wait()
        except KeyboardInterrupt:
            print(f"compile.py: stopped waiting; the run goes on: {submitted.url}", file=sys.stderr)
            sys.exit(INTERRUPTED)
        print("compile.py: the run succeeded")


def platform_of(target: Target) -> Platform:
    """Connect to a target's platform.

    Raises:
        UserError: The target has no platform, or the platform cannot be reached.
    """
    # Slow imports, each for one target only.
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
        raise UserError("--param needs --submit or --schedule: add one with a pipeline's name.")
    if options.wait and not options.submit:
        raise UserError("--wait needs --submit: add it with a pipeline's name.")
    if options.cron and not options.schedule:
        raise UserError("--cron needs --schedule: add it with a pipeline's name.")
    if options.schedule or options.unschedule:
        if target.name not in ("kubeflow", "vertex"):
            raise UserError(f"The target {target.name} has no schedules: use --target vertex or kubeflow.")
        if options.cron and len(options.cron.split()) != 5:
            raise UserError(f"--cron is {options.cron!r}: it must have five fields, such as 0 3 * * 1.")


def _parameters(target: Target, name: str, assignments: list[str]) -> dict[str, Any]:
    """Read a pipeline's parameters: the command line's, and the target's for the others."""
    keys = {assignment.partition("=")[0] for assignment in assignments}
    defaults = [f"{key}={value}" for key, value in parameters_for(target, name).items() if key not in keys]
    return read_parameters(build_pipeline(target, name), [*defaults, *assignments])


def _cron(options: argparse.Namespace, target: Target) -> str:
    cron = options.cron or target.schedules.get(options.schedule)
    if not cron:
        raise UserError(f"The target {target.name} has no schedule for {options.schedule}: add --cron.")
    return str(cron)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compile.py", description=__doc__)
    pipelines = ", ".join(PIPELINES)
    parser.add_argument("--target", choices=TARGETS, required=True, help="where the pipelines run")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for the compiled YAML (%(default)s)")
    parser.add_argument("--check", action="store_true", help="check settings, images and YAML, and print the graphs")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--submit", metavar="NAME", help=f"run a pipeline after compiling: {pipelines}")
    action.add_argument("--schedule", metavar="NAME", help="run a pipeline on a schedule, replacing its earlier one")
    action.add_argument("--unschedule", metavar="NAME", help="remove a pipeline's schedules")
    parser.add_argument("--cron", help="schedule in UTC, five fields (default: the target's own)")
    parser.add_argument("--wait", action="store_true", help="wait for the submitted run, and fail if it fails")
    parser.add_argument(
        "--param",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a parameter of the pipeline",
    )
    return parser


if __name__ == "__main__":
    main()
