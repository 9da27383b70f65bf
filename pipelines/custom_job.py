"""A task on several machines: a custom job of Vertex AI with one pool for the chief and one for the other workers.

The platform starts the task's command on each machine, with TF_CONFIG and CLUSTER_SPEC. KFP's executor writes the
outputs on the first machine only. The job is started and followed by the launcher of google-cloud-pipeline-components,
as its `create_custom_training_job_from_component` would have it: the package itself requires an older client of Vertex
AI than the one that this project submits with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl
from kfp.dsl.structures import ContainerSpecImplementation, OutputSpec

from steam_recsys.errors import UserError

LAUNCHER_IMAGE = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0"
LAUNCHER = ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"]
JOB_OUTPUT = "gcp_resources"
"""Output that names the job, by which the console links to it, and by which a restarted launcher finds it again."""

MACHINE_GB = {
    **{f"e2-highmem-{cores}": (cores, 8 * cores) for cores in (2, 4, 8, 16)},
    **{f"e2-standard-{cores}": (cores, 4 * cores) for cores in (4, 8, 16, 32)},
    **{f"n2-standard-{cores}": (cores, 4 * cores) for cores in (48, 64, 80)},
    **{f"n2-highmem-{cores}": (cores, 8 * cores) for cores in (32, 48, 64, 80)},
}
"""Cores and memory, in GB, of the machine types without accelerators that custom jobs offer, the cheaper series first.

See https://cloud.google.com/vertex-ai/docs/training/configure-compute#machine-types.
"""

_GIGABYTES = {"": 1e-9, "K": 1e-6, "M": 1e-3, "G": 1, "T": 1e3}


def machine_type(cpu: str, memory: str) -> str:
    """Return the smallest machine type with a number of cores and an amount of memory.

    Args:
        cpu: Cores in Kubernetes' units.
        memory: Memory in Kubernetes' units.

    Raises:
        UserError: No machine is that large.

    Example:
        >>> machine_type("8", "32G")
        'e2-standard-8'
    """
    cores = float(cpu.removesuffix("m")) / (1_000 if cpu.endswith("m") else 1)
    number, unit = re.findall(r"^(\d+)([KMGT]?)i?$", memory)[0]
    gigabytes = int(number) * _GIGABYTES[unit]
    enough = {name: size for name, size in MACHINE_GB.items() if size[0] >= cores and size[1] >= gigabytes}
    if not enough:
        raise UserError(
            f"No machine of a custom job of Vertex AI has {cpu} cores and {memory} of memory: set less for the "
            f"task, and more workers."
        )
    return min(enough, key=enough.__getitem__)


def run_on_workers(
    task: dsl.PipelineTask,
    workers: int,
    machine: str,
    timeout_minutes: float | None,
    labels: Mapping[str, str],
    network_attachment: str | None,
) -> None:
    """Let a task's container run on several machines at once, in place of its own machine.

    Args:
        task: The task, with its image and environment variables, and without resources.
        workers: Number of machines.
        machine: Machine type of each of them.
        timeout_minutes: Minutes after which the platform ends the job; None for its own limit of a week.
        labels: Labels of the job.
        network_attachment: Full name of the network attachment through which the workers reach a VPC network.
    """
    container = task.container_spec
    pool: dict[str, Any] = {
        "machine_spec": {"machine_type": machine},
        "replica_count": 1,
        "container_spec": {
            "image_uri": container.image,
            "command": container.command,
            # The payload is JSON already, so the executor's input, which is JSON, is quoted in it.
            "args": ["{{$.json_escape[1]}}" if each == "{{$}}" else each for each in container.args],
            "env": [{"name": name, "value": value} for name, value in (container.env or {}).items()],
        },
    }
    job: dict[str, Any] = {
        "display_name": task.name,
        "job_spec": {
            "worker_pool_specs": [pool, {**pool, "replica_count": workers - 1}],
            # The run's own settings. The launcher leaves out what is empty.
            "service_account": "{{$.pipeline_service_account}}",
            "network": "{{$.pipeline_network}}",
        },
        "labels": dict(labels),
        "encryption_spec": {"kms_key_name": "{{$.pipeline_encryption_key_name}}"},
    }
    if timeout_minutes:
        job["job_spec"]["scheduling"] = {"timeout": f"{round(60 * timeout_minutes)}s"}
    if network_attachment:
        job["job_spec"]["psc_interface_config"] = {"network_attachment": network_attachment}
    task.container_spec = ContainerSpecImplementation(
        image=LAUNCHER_IMAGE,
        command=LAUNCHER,
        args=[
            "--type", "CustomJob",
            "--payload", json.dumps(job),
            "--project", "{{$.pipeline_google_cloud_project_id}}",
            "--location", "{{$.pipeline_google_cloud_location}}",
            f"--{JOB_OUTPUT}", f"{{{{$.outputs.parameters['{JOB_OUTPUT}'].output_file}}}}",
        ],
    )  # fmt: skip
    outputs = {**(task.component_spec.outputs or {}), JOB_OUTPUT: OutputSpec("String")}
    task.component_spec = replace(task.component_spec, outputs=outputs)
