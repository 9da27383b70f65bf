"""The manifests and scripts for Kubeflow, checked without a cluster."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from psycopg2.extensions import connection as Connection

import compile as command
from components.monitor.freshness import MAX_AGE_HOURS
from steam_recsys.database.connection import create_schema

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kubeflow"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
MANIFESTS = [
    document
    for path in sorted((DEPLOY / "base").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
KUBERNETES_VERSION = "1.33.0"
MEMORY_OF_KFP_GB = 4.0
UNITS = {"Mi": 2**20, "Gi": 2**30}


def pods() -> list[dict]:
    """Return the specification of every pod, including those of CronJobs."""
    specs = [document["spec"].get("jobTemplate", document)["spec"] for document in MANIFESTS]
    pods = [spec["template"]["spec"] if "template" in spec else spec for spec in specs]
    return [pod for pod in pods if "containers" in pod]


def freshness() -> dict:
    (job,) = (document for document in MANIFESTS if document["kind"] == "CronJob")
    return job["spec"]


@pytest.mark.parametrize(
    "document", MANIFESTS, ids=lambda document: f"{document['kind']} {document['metadata']['name']}"
)
def test_every_manifest_is_valid(document: dict) -> None:
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on the PATH")
def test_the_kustomization_builds_with_namespace_labels_and_pinned_images() -> None:
    built = subprocess.run(["kubectl", "kustomize", str(DEPLOY / "base")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    assert len(documents) == len(MANIFESTS)
    for document in documents:
        assert document["metadata"]["namespace"] == "kubeflow"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "steam-recsys"
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    assert len(re.findall(r"image: steam-recsys-data$", built.stdout, re.MULTILINE)) == 1  # kind-up.sh replaces it
    images = re.findall(r"image: (\S+)", built.stdout)
    assert images
    assert all(
        re.fullmatch(r"postgres:\d+\.\d+-bookworm@sha256:[0-9a-f]{64}|steam-recsys-data", image) for image in images
    )


def test_every_container_runs_without_root_and_within_limits() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_the_requests_fit_a_laptop_of_16_gb_with_kubeflow_and_the_largest_task() -> None:
    settings = command.Target.load("kubeflow")
    largest = max(
        int(settings.task_settings(task).memory.removesuffix("G")) for task in ("default", "train", "predict")
    )
    texts = [container["resources"]["requests"]["memory"] for pod in pods() for container in pod["containers"]]
    own = sum(int(text[:-2]) * UNITS[text[-2:]] for text in texts) / 1e9
    assert own + settings.parallelism * largest + MEMORY_OF_KFP_GB < 16


def test_secret_and_claim_have_the_names_in_the_settings() -> None:
    settings = command.Target.load("kubeflow").kubeflow
    claims = {document["metadata"]["name"] for document in MANIFESTS if document["kind"] == "PersistentVolumeClaim"}
    assert claims == {settings.store_claim}
    script = (DEPLOY / "kind-up.sh").read_text()
    assert f"create secret generic {settings.secret} " in script
    assert "DATABASE_URL=" in script
    (container,) = freshness()["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert {variable["valueFrom"]["secretKeyRef"]["name"] for variable in container["env"]} == {settings.secret}


def test_the_freshness_check_runs_and_its_exit_code_is_the_result(connection: Connection) -> None:
    create_schema(connection, "recsys")
    (container,) = freshness()["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    check = [sys.executable, *container["command"][1:]]
    stale = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert (stale.returncode, stale.stderr) == (
        1,
        "No inference run has succeeded yet: run the inference pipeline.\n",
    )
    connection.cursor().execute(
        "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, finished_at) "
        "VALUES ('r', 'inference', 'SUCCEEDED', now())"
    )
    assert subprocess.run(check, cwd=ROOT, capture_output=True).returncode == 0


def test_the_freshness_check_is_scheduled_between_the_end_of_a_run_and_the_age_limit() -> None:
    check, inference = (
        int(cron.split()[1]) + int(cron.split()[0]) / 60
        for cron in (freshness()["schedule"], command.Target.load("kubeflow").schedules["inference"])
    )
    longest_run = 2.0
    assert inference + longest_run <= check
    assert inference + longest_run <= check + 24 - MAX_AGE_HOURS


def test_no_file_contains_a_secret() -> None:
    assert not [document for document in MANIFESTS if document["kind"] == "Secret"]
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"://\w+:(?!\$)\w+@", path.read_text()), path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_name_missing_programs(script: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run([str(script)], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"kind-\w+: \w+ is not on the PATH: install .+\.\n", done.stderr)


def test_commands_in_page_and_scripts_exist() -> None:
    texts = [(ROOT / "docs" / "kubeflow.md").read_text(), *(script.read_text() for script in SCRIPTS)]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    options = set(command._parser()._option_string_actions)
    for text in texts:
        assert {name for name in re.findall(r"make ([a-z-]+)\b", text) if name != "a"} <= targets
        for line in re.findall(r"compile\.py (.*)", text):
            assert set(re.findall(r"--[a-z]+", line)) <= options
