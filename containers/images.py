"""Name, build, push and scan the images.

An image's tag is a hash of what goes into it: its Dockerfile and the files that the Dockerfile copies. An unchanged
image keeps its tag and is not built again, and a compiled pipeline names exactly the code that it runs.
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

from steam_recsys.errors import UserError

Role = Literal["data", "model", "explorer"]
ROLES: tuple[Role, ...] = ("data", "model", "explorer")

LOCAL_REGISTRY = "localhost/steam-recsys"
"""The first part of the names of images that stay on this machine."""

ROOT = Path(__file__).parents[1]
FOUND = 3
"""Exit code of the scanner if it finds vulnerabilities; its own failure is 1, Docker's is 125."""

SCANNER = "aquasec/trivy:0.69.3@sha256:bcc376de8d77cfe086a917230e818dc9f8528e3c852f7b1aff648949b6258d1c"

DIGESTS = ROOT / "build" / "image-digests.json"
"""File with the digests of the images that were pushed."""


def requirements(role: Role) -> str:
    """Return the name of an image's locked requirements; CUDA=1 in the environment selects those for GPUs."""
    return "model-cuda" if role == "model" and os.environ.get("CUDA") else role


def content_tag(role: Role, root: Path = ROOT) -> str:
    """Return the hash of an image's content, twelve hexadecimal digits.

    Raises:
        UserError: The Dockerfile does not exist, as in an installed package.
    """
    dockerfile = root / "containers" / role / "Dockerfile"
    if not dockerfile.is_file():
        raise UserError(f"{dockerfile} does not exist: compile in a checkout of the project.")
    digest = hashlib.sha256()
    for path in (dockerfile, *_copied(dockerfile, requirements(role), root)):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    if base := os.environ.get("PYTHON_IMAGE"):
        digest.update(base.encode())
    return digest.hexdigest()[:12]


def tagged(registry: str, role: Role) -> str:
    """Return an image's name by tag."""
    return f"{registry}/{role}:{content_tag(role)}"


def image_name(registry: str, role: Role) -> str:
    """Return the name of the image that runs a role's tasks: by digest if it was pushed, by tag otherwise."""
    name = tagged(registry, role)
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    return str(digests.get(name, name))


def build(registry: str, role: Role, options: list[str]) -> str:
    """Build an image for this machine's processor unless it exists, and return its name.

    Args:
        registry: First part of the image's name: the registry to push it to.
        role: Image to build.
        options: Further options of `docker build`.

    Raises:
        UserError: Docker is missing, or the build fails.
    """
    name = tagged(registry, role)
    if _docker("image", "inspect", name, quiet=True) != 0:
        _build(["build"], name, role, options)
    return name


def push_for(platforms: str, registry: str, role: Role, options: list[str]) -> str:
    """Build an image for several platforms, push it under one name, and return that name by digest.

    Args:
        platforms: Platforms with commas between, such as `linux/amd64,linux/arm64`. Docker's builder must be able to
            run those of other processors, as Docker Desktop's is.
        registry: First part of the image's name.
        role: Image to build.
        options: Further options of `docker buildx build`.

    Raises:
        UserError: Docker is missing, or the build or the push fails.
    """
    name = tagged(registry, role)
    _build(["buildx", "build", f"--platform={platforms}", "--push"], name, role, options)
    pushed = find_pushed(name)
    if pushed is None:
        raise UserError(f"{name} is not in its registry after the push: check its name.")
    return pushed


def _build(command: list[str], name: str, role: Role, options: list[str]) -> None:
    arguments = {"REVISION": _revision(), "REQUIREMENTS": requirements(role)}
    if base := os.environ.get("PYTHON_IMAGE"):
        arguments["PYTHON_IMAGE"] = base
    build_arguments = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    dockerfile = ROOT / "containers" / role / "Dockerfile"
    if _docker(*command, *options, *build_arguments, f"--file={dockerfile}", f"--tag={name}", str(ROOT)):
        raise UserError(f"The image {name} cannot be built: see Docker's message above.")


def push(name: str) -> str:
    """Push an image, remember its digest, and return its name by digest.

    Raises:
        UserError: The push fails.
    """
    if _docker("push", name):
        raise UserError(f"{name} cannot be pushed: log in to its registry with docker login, and check its name.")
    found = _printed("image", "inspect", '--format={{join .RepoDigests "\\n"}}', name).split()
    repository = name.rpartition(":")[0]
    by_digest = next((digest for digest in found if digest.startswith(f"{repository}@")), name)
    return _remember(name, by_digest)


def find_pushed(name: str, platforms: str = "") -> str | None:
    """Return an image's name by digest if its registry already has it. Nothing is built or fetched.

    Args:
        name: Name by tag.
        platforms: Platforms that it must have, as in `push_for`; empty for any.
    """
    digest = registry_digest(name)
    if digest is None or (platforms and not set(platforms.split(",")) <= registry_platforms(name)):
        return None
    return _remember(name, f"{name.rpartition(':')[0]}@{digest}")


def registry_digest(name: str) -> str | None:
    """Return the digest that an image's tag names in its registry, for all platforms; None if it has no such image."""
    digest = _printed("buildx", "imagetools", "inspect", "--format={{.Manifest.Digest}}", name).strip()
    return digest if digest.startswith("sha256:") else None


def registry_platforms(name: str) -> set[str]:
    """Return the platforms that an image has in its registry, such as `linux/amd64`; none if it has no such image."""
    printed = _printed("buildx", "imagetools", "inspect", "--format={{json .Image}}", name)
    found = json.loads(printed) if printed.strip() else {}
    # One configuration, or one by platform if there are several.
    return {f"{found['os']}/{found['architecture']}"} if "architecture" in found else set(found)


def base_image() -> str:
    """Return the name of the image that all images are built on; PYTHON_IMAGE in the environment replaces it."""
    declared = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "containers" / "data" / "Dockerfile").read_text(), re.M)
    return os.environ.get("PYTHON_IMAGE") or (declared[1] if declared else "")


def _remember(name: str, by_digest: str) -> str:
    DIGESTS.parent.mkdir(parents=True, exist_ok=True)
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    DIGESTS.write_text(json.dumps({**digests, name: by_digest}, indent=2) + "\n")
    return by_digest


def scan(name: str) -> None:
    """Look for known vulnerabilities in an image with Trivy, which runs in a container.

    Raises:
        UserError: The image has severe vulnerabilities that a newer version fixes, or it cannot be scanned.
    """
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    severe = ["--severity=HIGH,CRITICAL", "--ignore-unfixed", f"--exit-code={FOUND}", "--scanners=vuln", "--quiet"]
    ended = _docker("run", "--rm", f"--volume={socket}:/var/run/docker.sock", SCANNER, "image", *severe, name)
    if ended == FOUND:
        raise UserError(f"{name} has known vulnerabilities, listed above: run make lock, then make scan again.")
    if ended:
        raise UserError(f"{name} could not be scanned, see above: check that this machine can fetch {SCANNER}.")


def size_mb(name: str) -> float:
    """Return an image's size in MB (10^6 bytes)."""
    return int(_printed("image", "inspect", "--format={{.Size}}", name)) / 1e6


def _copied(dockerfile: Path, requirement: str, root: Path) -> list[Path]:
    """List the files that a Dockerfile copies from the build context, sorted."""
    lines = dockerfile.read_text().replace("${REQUIREMENTS}", requirement).splitlines()
    sources = [match[1] for line in lines if (match := re.fullmatch(r"COPY (?!--from)(\S+) \S+", line))]
    found = [path for source in sources for path in [root / source, *(root / source).rglob("*")]]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _printed(*arguments: str) -> str:
    """Return what Docker prints, empty if it fails."""
    _require_docker()
    return subprocess.run(["docker", *arguments], capture_output=True, text=True).stdout


def _require_docker() -> None:
    if shutil.which("docker") is None:
        raise UserError("docker is not on the PATH: install Docker Engine or Docker Desktop.")


def _docker(*arguments: str, quiet: bool = False) -> int:
    _require_docker()
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
