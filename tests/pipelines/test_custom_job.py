"""Training on several machines: the custom job that a run on Vertex AI starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.aiplatform_v1.types import CustomJob

from components.train.component import train
from pipelines.compilation import compile_pipelines
from pipelines.custom_job import LAUNCHER_IMAGE, MACHINE_GB, machine_type
from pipelines.target import Target
from pipelines.vertex_limits import spec_problems
from steam_recsys.errors import UserError
from steam_recsys.logging import FORMAT_VARIABLE
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.stage import TIMEOUT_VARIABLE, read_journal
from tests.components.train.checkerboard import GAMES, GENRES, checkerboard
from tests.components.train.process import ROOT, cluster_of_two
from tests.pipelines.api_server import Answer, Request, serving
from tests.snapshots import write_snapshot_of

ATTACHMENT = "projects/my-project/regions/europe-west1/networkAttachments/tasks"
LOCATION = "projects/my-project/locations/europe-west1"


def compiled(folder: Path, pipeline: str = "training") -> dict[str, Any]:
    """Compile the pipelines for Vertex AI and return one of them."""
    paths = {path.stem: path for path in compile_pipelines(Target.load("vertex"), folder)}
    (spec,) = yaml.safe_load_all(paths[pipeline].read_text())
    assert list(spec_problems(spec)) == []
    return dict(spec)


def executor(spec: dict[str, Any], task: str) -> dict[str, Any]:
    """The container of a task."""
    return dict(spec["deploymentSpec"]["executors"][f"exec-{task}"]["container"])


def argument(container: dict[str, Any], name: str) -> str:
    """An argument of the launcher."""
    return str(container["args"][container["args"].index(f"--{name}") + 1])


def filled_in(payload: str, executor_input: str = "{}", **settings: str) -> dict[str, Any]:
    """The payload with what Vertex AI puts in place of its placeholders: JSON-escaped text, or nothing."""
    payload = payload.replace("{{$.json_escape[1]}}", json.dumps(executor_input)[1:-1])
    for name in ("pipeline_service_account", "pipeline_network", "pipeline_encryption_key_name"):
        payload = payload.replace(f"{{{{$.{name}}}}}", settings.get(name, ""))
    assert "{{$" not in payload
    job: dict[str, Any] = json.loads(payload)
    return without_empty_fields(job)


def without_empty_fields(value: Any) -> Any:
    """What the launcher leaves of the payload."""
    if isinstance(value, dict):
        found = {key: without_empty_fields(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each}
    return [without_empty_fields(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def four_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_TASKS__TRAIN__WORKERS", "4")
    monkeypatch.setenv("STEAM_RECSYS_LOG_FORMAT", "json")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__NETWORK_ATTACHMENT", ATTACHMENT)


@pytest.fixture
def requests() -> Iterator[tuple[JobServiceClient, list[Request]]]:
    """The real client of custom jobs, with a server that answers it."""

    def answer(request: Request) -> Answer:
        return 200, {**request.body, "name": f"{LOCATION}/customJobs/1", "state": "JOB_STATE_PENDING"}

    with serving(answer) as api:
        options = ClientOptions(api_endpoint=api.url)
        yield (
            JobServiceClient(transport="rest", client_options=options, credentials=AnonymousCredentials()),
            api.requests,
        )


def test_the_custom_job_has_the_runs_settings_and_a_pool_for_the_chief_and_one_for_the_others(
    four_workers: None, tmp_path: Path, requests: tuple[JobServiceClient, list[Request]]
) -> None:
    container = executor(compiled(tmp_path), "train")
    assert container["image"] == LAUNCHER_IMAGE
    assert argument(container, "type") == "CustomJob"
    assert argument(container, "project") == "{{$.pipeline_google_cloud_project_id}}"
    assert argument(container, "location") == "{{$.pipeline_google_cloud_location}}"
    account, key = "pipelines@my-project.iam.gserviceaccount.com", "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    payload = filled_in(
        argument(container, "payload"), pipeline_service_account=account, pipeline_encryption_key_name=key
    )
    client, sent = requests
    client.create_custom_job(parent=LOCATION, custom_job=payload)
    (request,) = sent
    assert (request.method, request.path) == ("POST", f"/v1/{LOCATION}/customJobs")
    body = request.body
    assert body["displayName"] == "train"
    assert body["labels"] == {"app": "steam-recsys"}
    assert body["encryptionSpec"] == {"kmsKeyName": key}
    spec = body["jobSpec"]
    assert spec["serviceAccount"] == account
    assert spec["pscInterfaceConfig"] == {"networkAttachment": ATTACHMENT}
    assert spec["scheduling"]["timeout"] == "29400s"
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == ["1", "3"]
    for pool in spec["workerPoolSpecs"]:
        assert pool["machineSpec"]["machineType"] == "e2-standard-8"
        worker = pool["containerSpec"]
        assert worker["imageUri"] == Target.load("vertex").image("model")
        assert worker["args"] == ["--executor_input", "{}", "--function_to_execute", "train"]
        assert {each["name"]: each["value"] for each in worker["env"]} == {
            TIMEOUT_VARIABLE: "480",
            FORMAT_VARIABLE: "json",
        }


def test_only_the_tasks_with_workers_change(four_workers: None, tmp_path: Path, monkeypatch) -> None:
    found = {name: compiled(tmp_path / "several", name) for name in ("training", "inference")}
    monkeypatch.delenv("STEAM_RECSYS_TASKS__TRAIN__WORKERS")
    for name, spec in found.items():
        one = compiled(tmp_path / "one", name)
        changed = {key for key, each in executors(spec).items() if each != executors(one)[key]}
        assert changed == {"exec-train"}
        assert set(spec["components"]["comp-train"]["outputDefinitions"]["parameters"]) == {"Output", "gcp_resources"}
        assert set(one["components"]["comp-train"]["outputDefinitions"]["parameters"]) == {"Output"}
        assert "resources" not in executors(spec)["exec-train"]["container"]


def executors(spec: dict[str, Any]) -> dict[str, Any]:
    """All containers of a compiled pipeline."""
    return dict(spec["deploymentSpec"]["executors"])


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("500m", "1G", "e2-highmem-2"),
        ("8", "32G", "e2-standard-8"),
        ("8", "32Gi", "e2-standard-8"),
        ("4", "48G", "e2-highmem-8"),
        ("80", "640G", "n2-highmem-80"),
    ],
)
def test_each_worker_gets_the_smallest_machine_that_is_large_enough(cpu: str, memory: str, expected: str) -> None:
    assert machine_type(cpu, memory) == expected
    for cores, gigabytes in MACHINE_GB.values():
        assert MACHINE_GB[machine_type(str(cores), f"{gigabytes}G")] == (cores, gigabytes)


def test_a_machine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"No machine of a custom job of Vertex AI has 96 cores and 1000G of memory: "):
        machine_type("96", "1000G")


@pytest.mark.parametrize(
    ("target", "variables", "sentence"),
    [
        ("local", {"TRAIN__WORKERS": "2"}, r"sets workers, which the target local does not have: remove it"),
        ("docker", {"TRAIN__WORKERS": "2"}, r"sets workers, which the target docker does not have: remove it"),
        ("kubeflow", {"REFIT__WORKERS": "2"}, r"\[tasks\.refit\] .* the target kubeflow does not have: remove it"),
        ("vertex", {"DEFAULT__WORKERS": "2"}, r"\[tasks\.default\] .* only train and refit have: remove it"),
        ("vertex", {"PREDICT__WORKERS": "2"}, r"\[tasks\.predict\] .* only train and refit have: remove it"),
        (
            "vertex",
            {"TRAIN__WORKERS": "2", "TRAIN__ACCELERATOR": "NVIDIA_L4"},
            r"\[tasks\.train\] .* workers and accelerator, which exclude each other: remove one",
        ),
    ],
)
def test_workers_are_refused_where_they_have_no_use(
    target: str, variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"STEAM_RECSYS_TASKS__{name}", value)
    with pytest.raises(UserError, match=sentence) as refused:
        Target.load(target)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_containers_of_the_job_train_one_model(four_workers: None, tmp_path: Path) -> None:
    snapshot, store = tmp_path / "snapshot", tmp_path / "store"
    write_snapshot_of(snapshot, checkerboard(), n_games=GAMES, genres=GENRES)
    outputs = {role: tmp_path / role / "output.json" for role in ("chief", "worker")}
    payload = argument(executor(compiled(tmp_path / "yaml"), "train"), "payload")
    processes = {}
    for number, (role, variables) in enumerate(cluster_of_two().items()):
        job = filled_in(payload, executor_input(snapshot, tmp_path / role / "model", store, outputs[role]))
        container = CustomJob(job).job_spec.worker_pool_specs[number].container_spec
        processes[role] = subprocess.Popen(
            [*container.command, *container.args],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **variables, **{each.name: each.value for each in container.env},
                 "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    texts = {role: process.communicate(timeout=1800)[0] for role, process in processes.items()}
    assert {role: process.returncode for role, process in processes.items()} == {"chief": 0, "worker": 0}, texts
    version = json.loads(outputs["chief"].read_text())["parameterValues"]["Output"]
    assert TwoTowerArrays.load(tmp_path / "chief" / "model").version == version
    assert not outputs["worker"].exists()
    assert not (tmp_path / "worker" / "model").exists()
    records = {record.stage: record for record in read_journal(str(store), "run")}
    assert records["train"].facts["version"] == version
    assert records["train-worker-1"].facts == {}
    assert [record.error for record in records.values()] == [None, None]


def executor_input(snapshot: Path, model: Path, store: Path, output: Path) -> str:
    """What KFP gives a task to execute."""
    parameters = {"seed": 0, "personal_budget": 0.025, "training_minutes": 0.5, "store": str(store), "run": "run"}
    assert {*parameters, "snapshot"} == set(train.component_spec.inputs or {})
    return json.dumps(
        {
            "inputs": {
                "parameterValues": parameters,
                "artifacts": {"snapshot": artifact("system.Dataset", snapshot)},
            },
            "outputs": {
                "parameters": {"Output": {"outputFile": str(output.parent / "Output")}},
                "artifacts": {"model": artifact("system.Model", model)},
                "outputFile": str(output),
            },
        }
    )


def artifact(schema: str, path: Path) -> dict[str, Any]:
    """An artifact, as KFP describes it."""
    described = {"name": path.name, "type": {"schemaTitle": schema}, "uri": str(path), "metadata": {}}
    return {"artifacts": [described]}
