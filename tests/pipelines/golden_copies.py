"""The golden copies of the compiled pipelines; `python -m tests.pipelines.golden_copies` regenerates them."""

from pathlib import Path
from unittest import mock

from pipelines.compilation import build_pipeline, compile_pipelines
from pipelines.target import TARGETS, Target

GOLDEN = Path(__file__).parent / "golden"


def compile_golden(target: str, output: Path) -> list[Path]:
    """Compile for a target, with image tags that do not depend on the code."""
    with (
        mock.patch("pipelines.target.image_name", lambda registry, role: f"{registry}/{role}:CONTENT"),
        mock.patch("pipelines.compilation.build_pipeline", build_pipeline.__wrapped__),  # the others have true tags
    ):
        return compile_pipelines(Target.load(target), output)


if __name__ == "__main__":
    for name in TARGETS:
        compile_golden(name, GOLDEN / name)
