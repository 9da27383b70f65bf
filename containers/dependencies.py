"""The locked requirements of the images: what they install, its known vulnerabilities and its licences."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from containers.images import ROLES, ROOT, Role
from steam_recsys.errors import UserError

UNAVAILABLE = 75
"""Exit code if the vulnerability database cannot be reached; sysexits.h calls it a temporary failure."""

LOCKED = [ROOT / "requirements" / f"{name}.txt" for name in ("data", "model", "model-cuda", "explorer")]
"""The locked requirements of all images, also of the one for GPUs."""

PAGE = ROOT / "docs" / "licences.md"
IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64",
         "python_version": "3.11", "python_full_version": "3.11.0"}  # fmt: skip
"""The platform of the images, whose requirements are listed on any machine."""

_HEADER = """\
# Licences

The packages that the images install, with the licence that each states in its metadata. `make licences` writes this
page from the locked requirements.

| package | licence | images |
|---|---|---|
"""
_LONGEST = 60
_CLASSIFIER = "License :: OSI Approved :: "


@dataclass(frozen=True)
class LockedPackage:
    """A package of a locked file, with the SHA-256 of each file that may be installed."""

    name: str
    version: str
    hashes: list[str]


class DatabaseUnavailableError(UserError):
    """The vulnerability database cannot be reached."""


def audit(requirements: Path, *options: str) -> int:
    """Look up each package of a requirements file in the OSV database with pip-audit; return the number of packages.

    Args:
        requirements: Locked file with hashes.
        options: Further options of pip-audit.

    Raises:
        DatabaseUnavailableError: The database cannot be reached.
        UserError: A package has known vulnerabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--vulnerability-service=osv",
            "--disable-pip",
            "--require-hashes",
        ]
        command += ["--progress-spinner=off", "--format=json", f"--output={found}", f"--requirement={requirements}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        if not found.exists():
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if "connect" not in done.stderr.lower():
                raise UserError(f"{requirements.name} was not audited ({reason}): correct it, or run make lock.")
            raise DatabaseUnavailableError(
                f"{requirements.name} was not audited ({reason}): try again from a network that reaches OSV."
            )
        packages = json.loads(found.read_text())["dependencies"]
    vulnerable = [
        f"{package['name']} {package['version']} ({', '.join(each['id'] for each in package['vulns'])})"
        for package in packages
        if package.get("vulns")
    ]
    if vulnerable:
        raise UserError(f"{requirements.name} has known vulnerabilities, in {', '.join(vulnerable)}: run make lock.")
    return len(packages)


def licences_page() -> str:
    """Return the page of licences, in Markdown.

    Raises:
        UserError: A package is not installed here.
    """
    images: dict[str, list[Role]] = {}
    for role in ROLES:
        for name in packages(ROOT / "requirements" / f"{role}.txt"):
            images.setdefault(name, []).append(role)
    rows = [f"| {name} | {licence(name)} | {', '.join(images[name])} |\n" for name in sorted(images)]
    return _HEADER + "".join(rows)


def packages(requirements: Path) -> list[str]:
    """Return the names of the packages that a locked file installs in an image."""
    return [package.name for package in installed_packages(requirements)]


def installed_packages(requirements: Path) -> list[LockedPackage]:
    """Return the packages that a locked file installs in an image."""
    from packaging.requirements import Requirement  # the other commands need nothing but Python

    found = []
    for line, hashes in re.findall(r"^([a-z0-9].*?) \\\n((?: +--hash=.*\n)+)", requirements.read_text(), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(IMAGE):
            (pinned,) = requirement.specifier
            found.append(LockedPackage(requirement.name, pinned.version, re.findall(r"sha256:(\w+)", hashes)))
    return found


def licence(name: str) -> str:
    """Return the licence that an installed package states.

    Raises:
        UserError: The package is not installed here.
    """
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        raise UserError(f"The package {name} is not installed: run make setup with Python 3.11 on Linux.") from None
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        each.removeprefix(_CLASSIFIER) for each in metadata.get_all("Classifier") or [] if each.startswith(_CLASSIFIER)
    ]
    text = (metadata.get_all("License") or [""])[0].strip().partition("\n")[0]
    return ", ".join(classified) or (text if 0 < len(text) <= _LONGEST else "not stated: see its project")
