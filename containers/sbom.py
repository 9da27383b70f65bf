"""The bill of materials of an image, in CycloneDX: its base image, and each Python package with its licence and hashes.

CycloneDX's library comes with pip-audit.
"""

from __future__ import annotations

import re
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from containers.dependencies import LockedPackage, installed_packages, licence
from containers.images import ROOT, Role, base_image, content_tag, requirements, tagged

FOLDER = ROOT / "build" / "sbom"


def write_sbom(registry: str, role: Role) -> Path:
    """Write an image's bill of materials to `build/sbom/<role>-<tag>.cdx.json`, and return the path.

    Args:
        registry: First part of the image's name.
        role: Image to describe.

    Raises:
        UserError: A package is not installed here, so that its licence is unknown.
    """
    path = FOLDER / f"{role}-{content_tag(role)}.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JsonV1Dot6(sbom(registry, role)).output_as_string(indent=2) + "\n")
    return path


def sbom(registry: str, role: Role) -> Bom:
    """Return an image's bill of materials; see `write_sbom`."""
    bom = Bom()
    name, _, version = tagged(registry, role).rpartition(":")
    bom.metadata.component = image = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref=role)
    base = _base()
    packages = [_package(each) for each in installed_packages(ROOT / "requirements" / f"{requirements(role)}.txt")]
    for component in (base, *packages):
        bom.components.add(component)
    bom.register_dependency(image, [base, *packages])
    return bom


def _base() -> Component:
    name, _, version = base_image().partition(":")
    tag, _, digest = version.partition("@")
    purl = PackageURL("docker", None, name, digest or tag, {"tag": tag} if digest else None)
    return Component(name=name, version=tag, type=ComponentType.CONTAINER, purl=purl, bom_ref="base-image")


def _package(package: LockedPackage) -> Component:
    purl = PackageURL("pypi", None, re.sub(r"[-_.]+", "-", package.name).lower(), package.version)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[LicenseFactory().make_from_string(licence(package.name))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
    )
