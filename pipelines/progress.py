"""How far a run on Kubeflow is, as lines to print."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pipelines.target import TaskName

PENDING_SECONDS = 60.0
"""A pod that starts at once is not worth a line."""

REMINDER_SECONDS = 600.0

_TASKS = frozenset(get_args(TaskName)) - {"default"}
_DRIVER = "-driver"
_ORDER = ("PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


@dataclass
class Progress:
    """Remembers what was printed about a run, and since when its pods wait.

    Attributes:
        look: Command that shows the run's pods.
    """

    look: str
    _printed: dict[str, str] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _said: dict[str, float] = field(default_factory=dict)

    def lines(self, tasks: Sequence[Any], now: float) -> list[str]:
        """Return what has changed: one line per task, and one if pods wait for long.

        Args:
            tasks: The run's nodes from the API, with `task_id`, `display_name` and `state`.
            now: Clock in seconds.
        """
        states = task_states(tasks)
        changed = {name: text for name, text in states.items() if self._printed.get(name) != text}
        self._printed |= changed
        waiting = self._waiting(tasks, now)
        return [f"{name}: {text}" for name, text in changed.items()] + waiting

    def _waiting(self, tasks: Sequence[Any], now: float) -> list[str]:
        pending = {str(task.task_id): str(task.display_name) for task in tasks if task.state == "PENDING"}
        self._since = {id: self._since.get(id, now) for id in pending}
        self._said = {id: said for id, said in self._said.items() if id in pending}
        due = {
            id: name
            for id, name in pending.items()
            if now - self._since[id] >= PENDING_SECONDS
            and now - self._said.get(id, -REMINDER_SECONDS) >= REMINDER_SECONDS
        }
        if not due:
            return []
        self._said |= dict.fromkeys(due, now)
        minutes = round((now - min(self._since[id] for id in due)) / 60)
        return [
            f"{_names(due, tasks)}: a pod has been pending for {minutes} min: the cluster lacks free CPU or memory, "
            f"cannot pull the image, or lacks the secret or the claim; {self.look} shows which."
        ]


def task_states(tasks: Sequence[Any]) -> dict[str, str]:
    """Return the state of each of our tasks, as in "2 running, 1 succeeded" for a task that runs once per shard.

    Kubeflow also lists its own nodes: drivers, executors, loops and conditions.
    """
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        if (name := _task(str(task.display_name))) and task.state in _ORDER:
            states[name][task.state] += 1
    return {name: _text(counted) for name, counted in states.items()}


def _text(states: Counter[str]) -> str:
    several = states.total() > 1
    return ", ".join(f"{states[each]} {each.lower()}" if several else each.lower() for each in _ORDER if states[each])


def _task(name: str) -> str | None:
    """Return the name of our task that a node runs; None for a node of Kubeflow's own."""
    task = re.sub(r"-\d+$", "", name)
    return task if task in _TASKS else None


def _names(pending: dict[str, str], tasks: Sequence[Any]) -> str:
    """Name the tasks whose pods are pending; an executor's node does not say which task it belongs to."""
    names = {_task(name.removesuffix(_DRIVER)) for name in pending.values()}
    if None in names:
        names |= {_task(str(task.display_name)) for task in tasks if task.state == "RUNNING"}
    return " or ".join(sorted(filter(None, names))) or "the run"
