"""Progress of a run on Kubeflow, from the nodes that its API lists."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.progress import PENDING_SECONDS, REMINDER_SECONDS, Progress, task_states

LOOK = "kubectl get pods"


def nodes(*pairs: tuple[str, str]) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(task_id=f"{number}", display_name=name, state=state)
        for number, (name, state) in enumerate(pairs)
    ]


def test_only_the_pipelines_own_tasks_are_shown_and_repeated_ones_are_counted() -> None:
    assert task_states(
        nodes(
            ("training-x7k2p", "RUNNING"), ("root", "RUNNING"), ("root-driver", "SUCCEEDED"), ("extract", "SUCCEEDED"),
            ("extract-driver", "SUCCEEDED"), ("executor", "SUCCEEDED"), ("condition-1", "SKIPPED"),
            ("for-loop-2", "RUNNING"), ("predict", "RUNNING"), ("predict", "SUCCEEDED"), ("predict", "RUNNING"),
            ("extract-2", "RUNNING"), ("validate", "RUNTIME_STATE_UNSPECIFIED"), ("train", None),
        )
    ) == {"extract": "1 running, 1 succeeded", "predict": "2 running, 1 succeeded"}  # fmt: skip


def test_a_line_is_printed_once_per_change() -> None:
    progress = Progress(LOOK)
    assert progress.lines(nodes(("extract", "RUNNING")), 0) == ["extract: running"]
    assert progress.lines(nodes(("extract", "RUNNING")), 5) == []
    assert progress.lines(nodes(("extract", "SUCCEEDED"), ("validate", "RUNNING")), 10) == [
        "extract: succeeded",
        "validate: running",
    ]
    assert progress.lines([], 15) == []


def test_a_pod_that_stays_pending_is_named_with_its_task_and_again_later() -> None:
    progress = Progress(LOOK)
    pending = nodes(("train", "RUNNING"), ("executor", "PENDING"))
    assert progress.lines(pending, 100) == ["train: running"]
    assert progress.lines(pending, 100 + PENDING_SECONDS - 1) == []
    (line,) = progress.lines(pending, 100 + PENDING_SECONDS)
    assert line == (
        "train: a pod has been pending for 1 min: the cluster lacks free CPU or memory, cannot pull the image, or "
        "lacks the secret or the claim; kubectl get pods shows which."
    )
    assert progress.lines(pending, 100 + PENDING_SECONDS + REMINDER_SECONDS - 1) == []
    (again,) = progress.lines(pending, 100 + PENDING_SECONDS + REMINDER_SECONDS)
    assert "pending for 11 min" in again


def test_a_pod_that_starts_and_another_that_waits_are_told_apart() -> None:
    progress = Progress(LOOK)
    first, second = nodes(("train-driver", "PENDING"), ("executor", "PENDING"))
    assert progress.lines([first], 0) == []
    assert progress.lines([second], PENDING_SECONDS) == []
    (line,) = progress.lines([second], 2 * PENDING_SECONDS)
    assert "pending for 1 min" in line


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ([("train-driver", "PENDING")], "train"),
        ([("predict", "RUNNING"), ("predict-2", "RUNNING"), ("executor(1)", "PENDING")], "predict"),
        ([("monitor", "RUNNING"), ("extract", "RUNNING"), ("executor", "PENDING")], "extract or monitor"),
        ([("root-driver", "PENDING")], "the run"),
    ],
)
def test_a_waiting_pod_is_named_as_closely_as_the_api_allows(pairs: list[tuple[str, str]], named: str) -> None:
    progress = Progress(LOOK)
    progress.lines(nodes(*pairs), 0)
    (line,) = progress.lines(nodes(*pairs), PENDING_SECONDS)
    assert line.startswith(f"{named}: a pod has been pending")
