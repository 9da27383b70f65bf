"""The licences of what the images carry besides this project, as the packages themselves state them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from containers.images import ROLES, ROOT, Role
from steam_recsys.errors import UserError

PAGE = ROOT / "docs" / "licences.md"
IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64",
         "python_version": "3.11", "python_full_version": "3.11.0"}  # fmt: skip
"""The images' Python, whose requirements are listed wherever this runs."""

_HEADER = """\
# Licences

The packages that the images install, with the licence that each states in its metadata. `make licences` writes this
page from the locked requirements.

| package | licence | images |
|---|---|---|
"""
_LONGEST = 60
_CLASSIFIER = "License :: OSI Approved :: "


def page() -> str:
    """The page.

    Raises:
        UserError: a package is not installed here.
    """
    images: dict[str, list[Role]] = {}
    for role in ROLES:
        for name in packages(ROOT / "requirements" / f"{role}.txt"):
            images.setdefault(name, []).append(role)
    rows = [f"| {name} | {licence(name)} | {', '.join(images[name])} |\n" for name in sorted(images)]
    return _HEADER + "".join(rows)


def packages(requirements: Path) -> list[str]:
    """The names of the packages that a locked file installs in an image."""
    lines = re.findall(r"^([a-z0-9].*?) \\$", requirements.read_text(), re.MULTILINE)
    found = [Requirement(line) for line in lines]
    return [each.name for each in found if each.marker is None or each.marker.evaluate(IMAGE)]


def licence(name: str) -> str:
    """The licence that an installed package states.

    Raises:
        UserError: it is not installed here.
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
