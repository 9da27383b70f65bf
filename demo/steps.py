"""The demo's progress: one line per step of a pipeline. Details are in the run's log file."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

_RETRAINING = ("train", "evaluate", "refit", "promote")
"""The steps that inference has only if the model is trained again."""

STEPS: dict[str, tuple[str, ...]] = {
    "ingestion": ("ingest",),
    "training": ("extract", "validate", *_RETRAINING),
    "inference": ("extract", "validate", "monitor", *_RETRAINING, "plan", "predict", "reverse_etl"),
}
"""The steps of each pipeline, in order."""

_LINE = re.compile(r"\[(?P<task>(?P<stage>[a-z_]+)[^\]]*)\] (?P<message>.*)")


class Steps:
    """The steps of one pipeline's run, printed as they end; on a terminal, the one that runs is shown as well.

    Example:
        with Steps(Console(), "training", "2/3") as steps:
            steps.show("[extract] started")
            steps.show("[extract] done in 1.0 s, peak memory 165 MB")

        [2/3 training · 1/6 extract] 1 s
    """

    def __init__(self, console: Console, pipeline: str, number: str) -> None:
        self._console = console
        self._title = f"{number} {pipeline}"
        self._steps: Sequence[str] = STEPS[pipeline]
        self._retrains = pipeline == "training"
        self._stage = self._detail = ""
        self._started = self._ended = time.monotonic()
        self._warnings = 0
        self._failed: set[str] = set()
        self._live = Live(
            console=console,
            get_renderable=self._running,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Steps:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._finish()
        self._live.stop()

    def show(self, line: str) -> None:
        """Take in a stage's log line. Warnings of other stages, such as notify, count for the step that runs."""
        found = _LINE.match(line)
        if found is None:
            return
        task, stage, message = found["task"], found["stage"], found["message"]
        if stage not in self._steps:
            self._warnings += message.startswith("warning: ")
            return
        if message == "started" and stage != self._stage:  # a stage may print lines of another, whose code it calls
            self._finish()
            self._stage, self._started, self._warnings = stage, self._ended, 0  # including the start of its process
            self._failed.clear()
            self._retrains = self._retrains or stage in _RETRAINING
        self._ended = time.monotonic()
        self._detail = message
        self._warnings += message.startswith("warning: ")
        if message == "started":
            self._failed.discard(task)  # it is tried again
        elif message.startswith("failed: "):
            self._failed.add(task)

    def _finish(self) -> None:
        """Print the line of the step that ran."""
        if self._stage:
            line = self._line(self._stage, self._ended - self._started)
            if self._failed:
                line.append(", failed", style="red")
            elif self._warnings:
                line.append(f", {self._warnings} warning{'s' if self._warnings > 1 else ''} in the log")
            self._stage = ""
            self._live.refresh()
            self._console.print(line, soft_wrap=True)

    def _running(self) -> Text:
        """Return the line of the step that runs, with what it is doing."""
        stage = self._stage  # another thread changes it
        if not stage:
            return Text(f"[{self._title}]", style="dim")
        line = self._line(stage, time.monotonic() - self._started).append(f"  {self._detail}", style="dim")
        line.truncate(self._console.width - 1, overflow="ellipsis")
        return line

    def _line(self, stage: str, seconds: float) -> Text:
        steps = [step for step in self._steps if self._retrains or step not in _RETRAINING]
        number = f"{steps.index(stage) + 1}/{len(steps)}"
        return Text.assemble((f"[{self._title} · {number} {stage}]", "cyan"), f" {seconds:.0f} s")
