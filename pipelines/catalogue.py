"""All pipelines by name, and their compilation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from pipelines.inference import inference_pipeline
from pipelines.ingestion import ingestion_pipeline
from pipelines.target import Target
from pipelines.training import training_pipeline
from steam_recsys.errors import UserError

PIPELINES: dict[str, Callable[[Target], GraphComponent]] = {
    "ingestion": ingestion_pipeline,
    "training": training_pipeline,
    "inference": inference_pipeline,
}


def compile_pipelines(target: Target, output: Path) -> list[Path]:
    """Compile every pipeline for a target to `<output>/<name>.yaml`, the same bytes each time; the files written.

    Raises:
        UserError: the folder cannot be written to.
    """
    paths = {name: output / f"{name}.yaml" for name in PIPELINES}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            compiler.Compiler().compile(PIPELINES[name](target), str(path))
    except OSError as error:
        raise UserError(f"{output} cannot be written to ({error.strerror}): name another folder.") from None
    return list(paths.values())
