"""The images' bills of materials."""

import json
import re
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from containers import sbom
from containers.dependencies import packages
from containers.images import ROLES, ROOT, Role, content_tag
from containers.sbom import write_sbom


@pytest.mark.parametrize("role", ROLES)
def test_each_image_has_a_bill_of_its_base_image_and_packages(
    role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbom, "FOLDER", tmp_path / "sbom")
    monkeypatch.delenv("PYTHON_IMAGE", raising=False)
    path = write_sbom("example.org/r", role)
    assert path.name == f"{role}-{content_tag(role)}.cdx.json"
    content = json.loads(path.read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    assert content["metadata"]["component"]["name"] == f"example.org/r/{role}"
    assert content["metadata"]["component"]["version"] == content_tag(role)
    components = {each["bom-ref"]: each for each in content["components"]}
    base = components.pop("base-image")
    assert re.fullmatch(r"pkg:docker/python@sha256(:|%3A)[0-9a-f]{64}\?tag=.*", base["purl"])
    assert {each["name"] for each in components.values()} == set(packages(ROOT / "requirements" / f"{role}.txt"))
    locked = (ROOT / "requirements" / f"{role}.txt").read_text()
    for each in components.values():
        assert each["purl"].startswith("pkg:pypi/")
        assert each["licenses"]
        assert each["hashes"]
        assert all(f"sha256:{found['content']}" in locked for found in each["hashes"])
    read = Bom.from_json(content)  # the library's reader accepts it
    assert len(read.components) == len(content["components"])
