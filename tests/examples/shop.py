"""The synthetic shop that the notebooks are about, run through the three pipelines once."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.postgres import EmbeddedPostgres
from demo.run import inference_parameters, run_pipeline
from demo.synthetic import write_synthetic
from demo.workspace import Workspace
from pipelines.compilation import compile_pipelines
from pipelines.target import Target


@dataclass(frozen=True)
class Shop:
    """The results of the pipelines, as the notebooks read them from the environment."""

    store: str
    url: str


@pytest.fixture(scope="session")
def demo_shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop of the demo's size with a champion and a publication."""
    root, target = tmp_path_factory.mktemp("shop"), Target.load("local")
    workspace = Workspace(root / "local")
    shop = Shop(str(root / "store"), postgres.ensure_database(f"shop_{secrets.token_hex(6)}"))
    write_synthetic(root / "raw")
    compile_pipelines(target, workspace.build / target.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", shop.url)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        for name, parameters in (
            ("ingestion", {"raw": root / "raw", "columns": ""}),
            ("training", {}),
            ("inference", inference_parameters(None)),
        ):
            run_pipeline(workspace, target, name, {"store": shop.store, **parameters})
    return shop
