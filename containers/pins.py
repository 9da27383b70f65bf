"""Pin the images of Dockerfiles, manifests and workflows by digest, so that no other image under their tag is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from containers.images import ROOT, registry_digest
from steam_recsys.errors import UserError

FILES = (
    *sorted(ROOT.glob("containers/*/Dockerfile")),
    *sorted(ROOT.glob("deploy/kubeflow/base/*.yaml")),
    *sorted(ROOT.glob(".github/workflows/*.yaml")),
    ROOT / "cloudbuild.yaml",
    ROOT / "containers" / "images.py",
)

IMAGE = re.compile(
    r"""^((?:\s*-?\ *(?:image|container|name):\ |ARG\ \w+_IMAGE=|FROM\ |SCANNER\ =\ "))"""
    r"""((?:[\w.-]+/)*[\w.-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?(?=["\s])""",
    re.MULTILINE | re.VERBOSE,
)
"""What stands before an image's name, the name with its tag, and its digest if it has one."""


def pin(files: tuple[Path, ...] = FILES, digest_of: Callable[[str], str | None] = registry_digest) -> list[str]:
    """Write the digest that each tag names now into the files, and return the images with their digests.

    Raises:
        UserError: A registry cannot be reached or lacks the image; no file is changed then.
    """
    names = sorted({name for path in files for _, name, _ in IMAGE.findall(_read(path))})
    digests = {name: digest_of(name) for name in names}
    if missing := [name for name, digest in digests.items() if digest is None]:
        raise UserError(f"The digest of {missing[0]} cannot be read: check its name, and that its registry is reached.")
    for path in files:
        path.write_text(IMAGE.sub(lambda found: f"{found[1]}{found[2]}@{digests[found[2]]}", _read(path)))
    return [f"{name}@{digest}" for name, digest in digests.items()]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
