"""What Vertex AI accepts in settings and compiled pipelines, as its API reference and documentation say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from components.evaluate.promotion import VERTEX
from pipelines.target import ENVIRONMENT, Target

MOST_CPUS, MOST_MEMORY_GB = 96.0, 624.0
"""The largest machine of a task without a machine type of its own."""

MOST_LABELS = 64
LONGEST_NAME = 63
"""Longest name of a task or component, which becomes a label of the task's job."""

LONGEST_PIPELINE_NAME = 128 - len("-20261129000000000000")
"""A run's id is the pipeline's name and the time, 128 characters at most."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_LABEL = re.compile(r"[\w-]{0,63}")
_IMAGE_REGISTRY = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)/.+")
_ACCELERATOR = re.compile(r"(NVIDIA|TPU)_[A-Z0-9_]+")

Json = Mapping[str, Any]


def setting_problems(target: Target) -> Iterator[str]:
    """Yield a sentence for each setting of the target vertex that has a form that Vertex AI refuses."""
    settings, region = target.vertex, target.vertex.region or "[^/]+"
    forms = {
        "network": (r"projects/\d+/global/networks/[^/]+", "projects/NUMBER/global/networks/NAME, with the number"),
        "network_attachment": (
            rf"projects/[^/]+/regions/{region}/networkAttachments/[^/]+",
            f"projects/PROJECT/regions/{settings.region or 'REGION'}/networkAttachments/NAME",
        ),
        "encryption_key": (
            rf"projects/[^/]+/locations/{region}/keyRings/[^/]+/cryptoKeys/[^/]+",
            f"projects/PROJECT/locations/{settings.region or 'REGION'}/keyRings/RING/cryptoKeys/KEY",
        ),
    }
    for name, (pattern, form) in forms.items():
        value = getattr(settings, name)
        if value and not re.fullmatch(pattern, value):
            yield f"{ENVIRONMENT}VERTEX__{name.upper()} is {value}: Vertex AI requires {form}."
    yield from _label_problems(settings.labels)
    if registry := str(target.parameters.get("registry") or ""):
        if not VERTEX.fullmatch(registry):
            yield f"{ENVIRONMENT}PARAMETERS__REGISTRY is {registry}: write vertex://PROJECT/LOCATION."
        elif not _IMAGE_REGISTRY.fullmatch(target.registry):
            yield (
                f"{ENVIRONMENT}REGISTRY is {target.registry}: the Model Registry accepts serving images from Artifact "
                f"Registry only, LOCATION-docker.pkg.dev/PROJECT/REPOSITORY."
            )


def _label_problems(labels: Mapping[str, str]) -> Iterator[str]:
    if len(labels) > MOST_LABELS:
        yield f"{ENVIRONMENT}VERTEX__LABELS has {len(labels)} labels: Vertex AI accepts {MOST_LABELS}."
    for key, value in labels.items():
        accepted = all(_LABEL.fullmatch(text) and text == text.lower() for text in (key, value))
        if not accepted or not key[:1].isalpha():
            yield (
                f"{ENVIRONMENT}VERTEX__LABELS has {key}={value}: Vertex AI accepts at most 63 lower-case letters, "
                f"digits, _ and - in each, and keys that begin with a letter."
            )


def spec_problems(spec: Json, *others: Json) -> Iterator[str]:
    """Yield a sentence for each part of a compiled pipeline that Vertex AI refuses.

    Args:
        spec: The first document of the YAML.
        others: Its other documents.
    """
    if others:
        yield "it has a platform document, which Vertex AI refuses: report this as a bug."
    if len(spec["pipelineInfo"]["name"]) > LONGEST_PIPELINE_NAME:
        yield f"the pipeline's name has more than {LONGEST_PIPELINE_NAME} characters: shorten it."
    components = spec["components"]
    dags = [spec["root"]["dag"], *(component["dag"] for component in components.values() if "dag" in component)]
    for name in sorted({*components, *(task for dag in dags for task in dag["tasks"])}):
        if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
            yield f"the name {name} must have at most {LONGEST_NAME} lower-case letters, digits and dashes: rename it."
    for name, executor in spec["deploymentSpec"]["executors"].items():
        for problem in _resource_problems(executor.get("container", {}).get("resources", {})):
            yield f"the task {name.removeprefix('exec-')} {problem}"


def _resource_problems(resources: Json) -> Iterator[str]:
    for name, limit, most, unit in (
        ("cpu", resources.get("cpuLimit", 0), MOST_CPUS, "cores"),
        ("memory", resources.get("memoryLimit", 0), MOST_MEMORY_GB, "GB"),
    ):
        if limit > most:
            yield f"requests {limit:g} {unit}, and a machine of Vertex AI has at most {most:g}: lower its {name}."
    accelerator = resources.get("accelerator", {})
    kind = accelerator.get("resourceType") or accelerator.get("type")
    if kind and not _ACCELERATOR.fullmatch(kind):
        yield f"requests the accelerator {kind}: use Vertex AI's name, such as NVIDIA_TESLA_T4 or NVIDIA_L4."
