"""Digests of the images that are fetched, written without a registry."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from containers.images import base_image
from containers.pins import FILES, IMAGE, pin
from steam_recsys.errors import UserError

OLD, NEW = "@sha256:" + "0" * 64, "sha256:" + "1" * 64
DOCKERFILE = f"ARG PYTHON_IMAGE=python:3.11{OLD}\nFROM ${{PYTHON_IMAGE}} AS packages\nFROM docker:28\n"
MANIFEST = (
    f"    name: access\n    image: postgres:17{OLD}\n    - name: docker:28 # a step\n    image: steam-recsys-data\n"
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    return tmp_path / "Dockerfile", tmp_path / "manifest.yaml"


def unpinned(files: Iterable[Path] = FILES) -> list[str]:
    """Return the images without a digest, as FILE: IMAGE."""
    return [
        f"{path.name}: {name}" for path in files for _, name, digest in IMAGE.findall(path.read_text()) if not digest
    ]


def test_images_without_a_digest_are_listed(files: tuple[Path, Path]) -> None:
    assert unpinned(files) == ["Dockerfile: docker:28", "manifest.yaml: docker:28"]


def test_every_image_gets_the_digest_of_its_tag(files: tuple[Path, Path]) -> None:
    asked = []

    def digest_of(name: str) -> str:
        asked.append(name)
        return NEW

    pinned = [f"{name}@{NEW}" for name in ("docker:28", "postgres:17", "python:3.11")]
    assert pin(files, digest_of) == pinned
    assert asked == ["docker:28", "postgres:17", "python:3.11"]
    assert files[0].read_text() == DOCKERFILE.replace(OLD, f"@{NEW}").replace("docker:28", pinned[0])
    assert files[1].read_text() == MANIFEST.replace(OLD, f"@{NEW}").replace("docker:28", pinned[0])


def test_nothing_is_written_if_a_registry_does_not_answer(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"The digest of postgres:17 cannot be read: check its name"):
        pin(files, lambda name: None if name == "postgres:17" else NEW)
    assert (files[0].read_text(), files[1].read_text()) == (DOCKERFILE, MANIFEST)


def test_the_files_that_name_images_are_known() -> None:
    assert {path.name for path in FILES} >= {"Dockerfile", "postgres.yaml", "store.yaml", "ci.yaml", "cloudbuild.yaml"}
    assert base_image().startswith("python:3.11")
