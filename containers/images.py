"""The images: their names, which say what is in them, their building and their pushing.

An image's tag is a hash of what goes into it: its Dockerfile and the files that the Dockerfile copies. So an image that
would not change keeps its tag and is not built again, and a compiled pipeline names exactly the code that it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from components.shared.errors import UserError

Role = Literal["data", "model"]
ROLES: tuple[Role, ...] = ("data", "model")

LOCAL_REGISTRY = "localhost/steam-recsys"
"""The first part of the names of images that stay on this machine."""

ROOT = Path(__file__).parents[1]
DIGESTS = ROOT / "build" / "image-digests.json"
"""What registries called the images that were pushed to them."""


def requirements(role: Role) -> str:
    """The locked requirements that an image is made from; CUDA=1 in the environment asks for those of GPUs."""
    return "model-cuda" if role == "model" and os.environ.get("CUDA") else role


def content_tag(role: Role, root: Path = ROOT) -> str:
    """Twelve hexadecimal digits that name the content of an image.

    Raises:
        UserError: the Dockerfile is not there, as in an installed package.
    """
    dockerfile = root / "containers" / role / "Dockerfile"
    if not dockerfile.is_file():
        raise UserError(f"{dockerfile} does not exist: compile in a checkout of the project, where the images are.")
    digest = hashlib.sha256()
    for path in (dockerfile, *_copied(dockerfile, requirements(role), root)):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def image_name(registry: str, role: Role) -> str:
    """The image that runs a role's tasks: by digest where it was pushed, by its tag otherwise."""
    name = f"{registry}/{role}:{content_tag(role)}"
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    return str(digests.get(name, name))


def build(registry: str, role: Role, options: list[str]) -> str:
    """Build an image where it is not there yet; its name.

    Args:
        registry: where it will be pushed to; the first part of its name.
        role: which image.
        options: further options of `docker build`.

    Raises:
        UserError: Docker is missing, or the build fails.
    """
    name = f"{registry}/{role}:{content_tag(role)}"
    if _docker("image", "inspect", name, quiet=True) == 0:
        return name
    arguments = {"REVISION": _revision(), "REQUIREMENTS": requirements(role)}
    if base := os.environ.get("PYTHON_IMAGE"):
        arguments["PYTHON_IMAGE"] = base
    build_arguments = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    dockerfile = ROOT / "containers" / role / "Dockerfile"
    if _docker("build", *options, *build_arguments, f"--file={dockerfile}", f"--tag={name}", str(ROOT)):
        raise UserError(f"The image {name} cannot be built: Docker says why, above.")
    return name


def push(name: str) -> str:
    """Push an image and remember its digest; the name by digest.

    Raises:
        UserError: it cannot be pushed.
    """
    if _docker("push", name):
        raise UserError(f"{name} cannot be pushed: log in to its registry with docker login, and check its name.")
    found = subprocess.run(
        ["docker", "image", "inspect", "--format={{join .RepoDigests \"\\n\"}}", name],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    repository = name.rpartition(":")[0]
    by_digest = next((digest for digest in found if digest.startswith(f"{repository}@")), name)
    DIGESTS.parent.mkdir(parents=True, exist_ok=True)
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    DIGESTS.write_text(json.dumps({**digests, name: by_digest}, indent=2) + "\n")
    return by_digest


def size_mb(name: str) -> float:
    """An image's size in MB (10^6 bytes)."""
    shown = subprocess.run(
        ["docker", "image", "inspect", "--format={{.Size}}", name], capture_output=True, text=True, check=True
    )
    return int(shown.stdout) / 1e6


def _copied(dockerfile: Path, requirement: str, root: Path) -> list[Path]:
    """The files that a Dockerfile copies from the build context, in order."""
    lines = dockerfile.read_text().replace("${REQUIREMENTS}", requirement).splitlines()
    sources = [match[1] for line in lines if (match := re.fullmatch(r"COPY (?!--from)(\S+) \S+", line))]
    found = [path for source in sources for path in [root / source, *(root / source).rglob("*")]]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _docker(*arguments: str, quiet: bool = False) -> int:
    if shutil.which("docker") is None:
        raise UserError("There is no docker on the PATH: install Docker Engine or Docker Desktop.")
    output = subprocess.DEVNULL if quiet else None
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    return subprocess.run(["docker", *arguments], env=environment, stdout=output, stderr=output).returncode


def _revision() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or "unknown"
