"""The lines of the demo's steps, on a terminal and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from demo.steps import STEPS, Steps
from pipelines import inference, ingestion, training

TRAINED = ("train", "evaluate", "refit", "promote")


def shown(pipeline: str, lines: list[str], *, terminal: bool = False, color: bool = True) -> str:
    """Return what is printed of a run whose stages print these lines."""
    system = "standard" if terminal else "auto"
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=system, no_color=not color)
    with Steps(console, pipeline, "2/3") as steps:
        for line in lines:
            steps.show(line)
    return re.sub(r"\d+ s\b", "# s", console.file.getvalue())


def stages(*names: str) -> list[str]:
    return [line for name in names for line in (f"[{name}] started", f"[{name}] done in 1.0 s, peak memory 1 MB")]


def test_each_step_is_one_line_with_its_number() -> None:
    assert shown("training", stages("extract", "validate", *TRAINED, "notify")).splitlines() == [
        "[2/3 training · 1/6 extract] # s",
        "[2/3 training · 2/6 validate] # s",
        "[2/3 training · 3/6 train] # s",
        "[2/3 training · 4/6 evaluate] # s",
        "[2/3 training · 5/6 refit] # s",
        "[2/3 training · 6/6 promote] # s",
    ]


def test_inference_counts_the_steps_of_a_retraining_only_if_it_trains() -> None:
    stays = shown("inference", stages("extract", "validate", "monitor", "plan", "predict 00001", "reverse_etl"))
    assert [line.split()[3] for line in stays.splitlines()] == ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]
    failed = shown("inference", stages("extract", "validate", "monitor", "train", "evaluate", "plan"))
    assert [line.split()[3] for line in failed.splitlines()] == ["1/6", "2/6", "3/6", "4/10", "5/10", "8/10"]


def test_parallel_tasks_of_a_stage_are_one_step() -> None:
    lines = ["[predict 0] started", "[predict 1] started", "[predict 1] done in 1.0 s", "[predict 0] done in 2.0 s"]
    assert shown("inference", lines) == "[2/3 inference · 5/6 predict] # s\n"


def test_a_stage_that_prints_the_lines_of_another_stays_the_step() -> None:
    lines = ["[refit] started", "[train] refit fit: loss 1.0", "[refit] done in 1.0 s"]
    assert shown("training", lines) == "[2/3 training · 5/6 refit] # s\n"


def test_warnings_are_counted_and_a_failure_is_marked() -> None:
    warned = ["[validate] started", "[validate] warning: a", "[validate] warning: b", "[validate] done in 1.0 s"]
    assert shown("training", warned) == "[2/3 training · 2/6 validate] # s, 2 warnings in the log\n"
    failed = ["[validate] started", "[validate] failed: No."]
    assert shown("training", failed) == "[2/3 training · 2/6 validate] # s, failed\n"


def test_a_failed_task_stays_marked_if_others_of_its_stage_go_on_until_it_is_tried_again() -> None:
    lines = ["[predict 0] started", "[predict 1] started", "[predict 0] failed: No.", "[predict 1] done in 1.0 s"]
    assert shown("inference", lines) == "[2/3 inference · 5/6 predict] # s, failed\n"
    again = ["[predict 0] started", "[predict 0] done in 1.0 s"]
    assert shown("inference", [*lines, *again]) == "[2/3 inference · 5/6 predict] # s\n"


def test_warnings_of_stages_without_a_line_count_for_the_step_before() -> None:
    lines = [*stages("reverse_etl"), "[notify] started", "[notify] warning: no answer", "[notify] done in 1.0 s"]
    assert shown("inference", lines) == "[2/3 inference · 6/6 reverse_etl] # s, 1 warning in the log\n"


def test_only_a_terminal_gets_control_characters() -> None:
    lines = ["[train] started", "[train] … scale 2: loss 6.6801", "[train] done in 1.0 s"]
    assert "\x1b" not in shown("training", lines)
    on_terminal = shown("training", lines, terminal=True)
    assert "\x1b[36m[2/3 training · 3/6 train]\x1b[0m # s\n" in on_terminal
    assert "\x1b[36m" not in shown("training", lines, terminal=True, color=False)


@pytest.mark.parametrize("pipeline", [ingestion, training, inference])
def test_the_steps_are_the_stages_of_the_pipelines_in_order(pipeline) -> None:
    name = pipeline.__name__.removeprefix("pipelines.")
    required = [step for step in STEPS[name] if step not in TRAINED or step in pipeline.STAGES]
    assert [step for step in required if step not in ("refit", "promote")] == pipeline.STAGES
