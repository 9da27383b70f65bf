"""The images, as far as they can be checked without building them. `.ci/run` builds them and runs the demo in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from containers import images
from containers.__main__ import main as command
from containers.images import LOCAL_REGISTRY, ROLES, ROOT, build, content_tag, image_name, tagged
from explorer.settings import Settings
from steam_recsys.errors import UserError

SOURCES = "commands|components|explorer|steam_recsys"
DOCKERFILES = {role: (ROOT / "containers" / role / "Dockerfile").read_text() for role in ROLES}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that images are built from."""
    for name in ("commands", "components", "containers", "explorer", "requirements", "steam_recsys"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_images_tag_changes_only_with_its_content(checkout: Path) -> None:
    before = {role: content_tag(role, checkout) for role in ROLES}
    assert before == {role: content_tag(role) for role in ROLES}
    (checkout / "components" / "train" / "model.py").write_text("changed")
    (checkout / "components" / "train" / "__pycache__").mkdir()
    (checkout / "components" / "train" / "__pycache__" / "model.pyc").write_text("compiled")
    assert content_tag("data", checkout) == before["data"]
    assert content_tag("model", checkout) != before["model"]


@pytest.mark.parametrize("changed", ["requirements/data.txt", "containers/data/Dockerfile"])
def test_requirements_and_dockerfile_change_the_tag(checkout: Path, changed: str) -> None:
    before = content_tag("data", checkout)
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert content_tag("data", checkout) != before


def test_the_gpu_image_has_another_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {role: content_tag(role) for role in ROLES}
    monkeypatch.setenv("CUDA", "1")
    assert content_tag("data") == before["data"]
    assert content_tag("model") != before["model"]


def test_another_base_image_gives_another_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_tag("data")
    monkeypatch.setenv("PYTHON_IMAGE", "mirror.example/python:3.11")
    assert content_tag("data") != before


def test_a_pushed_image_is_named_by_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"example.org/r/data:{content_tag('data')}"
    monkeypatch.setattr(images, "DIGESTS", tmp_path / "image-digests.json")
    assert image_name("example.org/r", "data") == name
    (tmp_path / "image-digests.json").write_text(f'{{"{name}": "example.org/r/data@sha256:1234"}}')
    assert image_name("example.org/r", "data") == "example.org/r/data@sha256:1234"


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A docker command that records its arguments in `asked`.

    With the file `registry`, registries have every image, with the configurations that the file holds.
    """
    monkeypatch.setattr(images, "DIGESTS", tmp_path / "image-digests.json")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = f"""#!/bin/sh
        echo "$*" >> {tmp_path}/asked
        case "$1 $2" in
          "buildx imagetools")
            case "$4" in
              *Digest*) if [ -e {tmp_path}/registry ]; then echo sha256:1234; fi ;;
              *Image*) cat {tmp_path}/registry ;;
            esac ;;
          "image inspect") case "$3" in *Size*) echo 5000000 ;; *RepoDigests*) echo "${{4%:*}}@sha256:5678" ;; esac ;;
        esac
    """
    (tmp_path / "docker").write_text(script)
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def test_an_image_already_in_its_registry_is_neither_built_nor_pushed(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["containers", "push", "--registry", "example.org/r"])
    command()
    assert f"pushed as {image_name('example.org/r', 'data')}\n" in capsys.readouterr().out
    assert image_name("example.org/r", "data") == "example.org/r/data@sha256:5678"
    (docker / "registry").touch()
    (docker / "asked").unlink()
    command()
    assert "already in the registry: example.org/r/data@sha256:1234" in capsys.readouterr().out
    assert image_name("example.org/r", "data") == "example.org/r/data@sha256:1234"
    assert {line.split()[0] for line in (docker / "asked").read_text().splitlines()} == {"buildx"}


def test_images_for_several_platforms_are_pushed_under_one_name(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLATFORMS", "linux/amd64,linux/arm64")
    monkeypatch.setattr(sys, "argv", ["containers", "push", "--registry", "example.org/r"])
    with pytest.raises(SystemExit, match=r"example\.org/r/data:.* is not in its registry after the push"):
        command()
    built = [line for line in (docker / "asked").read_text().splitlines() if line.startswith("buildx build")]
    assert len(built) == 1
    assert "--platform=linux/amd64,linux/arm64 --push " in built[0]
    assert f"--tag={tagged('example.org/r', 'data')} " in built[0]
    with (docker / "docker").open("a") as script:
        script.write(f'\n[ "$1 $2" != "buildx build" ] || touch {docker}/registry\n')
    command()
    assert "pushed as example.org/r/data@sha256:1234\n" in capsys.readouterr().out
    assert image_name("example.org/r", "data") == "example.org/r/data@sha256:1234"


@pytest.mark.parametrize(
    ("has", "built"),
    [
        ('{"architecture": "amd64", "os": "linux"}', True),
        ('{"linux/amd64": {}, "linux/arm/v7": {}}', True),
        ('{"linux/amd64": {}, "linux/arm64": {}}', False),
    ],
)
def test_an_image_that_lacks_a_platform_in_its_registry_is_built_again_for_all(
    has: str, built: bool, docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (docker / "registry").write_text(has)
    monkeypatch.setenv("PLATFORMS", "linux/amd64,linux/arm64")
    monkeypatch.setattr(sys, "argv", ["containers", "push", "--registry", "example.org/r"])
    command()
    builds = [line for line in (docker / "asked").read_text().splitlines() if line.startswith("buildx build")]
    assert len(builds) == (len(ROLES) if built else 0)
    assert capsys.readouterr().out.count("already in the registry") == (0 if built else len(ROLES))


@pytest.mark.parametrize("role", ROLES)
def test_no_dockerfile_names_a_platform_or_a_processor(role: str) -> None:
    assert not re.search(r"--platform|amd64|x86_64|arm64|aarch64", DOCKERFILES[role])


def test_scan_checks_each_image_and_reports_vulnerabilities(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["containers", "scan"])
    command()
    scans = [line for line in (docker / "asked").read_text().splitlines() if line.startswith("run ")]
    assert [line.split()[-1] for line in scans] == [tagged(LOCAL_REGISTRY, role) for role in ROLES]
    assert all(re.search(r"trivy:[\d.]+@sha256:\w{64} image .*--exit-code=3", line) for line in scans)
    with (docker / "docker").open("a") as script:
        script.write('\n[ "$1" != run ] || exit $(cat "$(dirname "$0")/ends")\n')
    for ends, sentence in (
        (3, "has known vulnerabilities, listed above: run make lock"),
        (125, "could not be scanned"),
    ):
        (docker / "ends").write_text(str(ends))
        with pytest.raises(SystemExit, match=rf"containers: \S+ {sentence}"):
            command()


@pytest.mark.parametrize("role", ROLES)
def test_every_package_that_an_images_stages_import_is_copied_into_it(role: str) -> None:
    copied = {ROOT / source for source in re.findall(rf"^COPY ((?:{SOURCES})\S*) ", DOCKERFILES[role], re.MULTILINE)}
    for path in (path for source in copied for path in (source.rglob("*.py") if source.is_dir() else [source])):
        for module in re.findall(rf"^\s*(?:from|import) ((?:{SOURCES})[\w.]*)", path.read_text(), re.MULTILINE):
            imported = ROOT / module.replace(".", "/")
            assert {imported.with_suffix(".py"), imported / "__init__.py", imported, *imported.parents} & copied, (
                path,
                module,
            )


@pytest.mark.parametrize(
    "component", sorted((ROOT / "components").glob("*/component.py")), ids=lambda component: component.parent.name
)
def test_every_stage_is_in_the_image_that_its_component_names(component: Path) -> None:
    for role in re.findall(r"import (\w+)_IMAGE", component.read_text()):
        assert f"COPY components/{component.parent.name} " in DOCKERFILES[role.lower()]


def test_the_explorer_image_listens_on_all_addresses() -> None:
    final = DOCKERFILES["explorer"].split("\nFROM ")[2]
    assert 'CMD ["python3", "-m", "explorer"]' in final
    assert "EXPLORER_HOST=0.0.0.0" in final
    assert f"EXPOSE {Settings.model_fields['port'].default}" in final


@pytest.mark.parametrize("role", ROLES)
def test_images_install_hashed_requirements_and_do_not_run_as_root(role: str) -> None:
    packages, final = DOCKERFILES[role].split("\nFROM ")[1:]
    assert "--no-deps --require-hashes" in packages
    assert "--no-cache-dir" in packages
    assert "pip install" not in final
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert "org.opencontainers.image.revision" in final
    assert DOCKERFILES[role].count("FROM ${PYTHON_IMAGE}") == 2


@pytest.mark.parametrize("role", ["data", "explorer"])
def test_only_the_model_image_has_tensorflow(role: str) -> None:
    locked = (ROOT / "requirements" / f"{role}.txt").read_text()
    assert not re.search(r"^(tensorflow|tf-keras|keras)", locked, re.MULTILINE)


def test_missing_docker_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"docker is not on the PATH: install Docker Engine or Docker Desktop\."):
        build("example.org/r", "data", [])


def test_names_are_printed_one_per_line() -> None:
    command = [sys.executable, "-m", "containers", "tags", "--registry", "example.org/r"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{role} {image_name('example.org/r', role)}" for role in ROLES]


def test_building_and_pushing_needs_only_the_standard_library() -> None:
    """CI builds the images in a container that has Docker and Python, but not this project's requirements."""
    command = [sys.executable, "-S", "-m", "containers", "tags"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
