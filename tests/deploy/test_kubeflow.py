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
from explorer import health, reader
from explorer.server import LIVENESS
from explorer.settings import Settings
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
CORES_OF_KUBERNETES, CORES_OF_KFP, CORES_OF_A_DRIVER = 0.95, 0.65, 0.1  # their requests, in kind
UNITS = {"Mi": 2**20, "Gi": 2**30}


def pods() -> list[dict]:
    """Return the specification of every pod, including those of CronJobs."""
    specs = [document["spec"].get("jobTemplate", document)["spec"] for document in MANIFESTS if "spec" in document]
    pods = [spec["template"]["spec"] if "template" in spec else spec for spec in specs]
    return [pod for pod in pods if "containers" in pod]


def explorer_copies() -> list[dict]:
    """Return the pods of the explorer beside the first, with the fewest that the autoscaler allows."""
    autoscaler, deployment = one("HorizontalPodAutoscaler"), one("Deployment")
    return [deployment["spec"]["template"]["spec"]] * (autoscaler["spec"]["minReplicas"] - 1)


def one(kind: str) -> dict:
    """Return the only manifest of a kind."""
    (document,) = (document for document in MANIFESTS if document["kind"] == kind)
    return document


def cores(text: str) -> float:
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


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
    images = re.findall(r"image: (\S+)$", built.stdout, re.MULTILINE)
    replaced = [image for image in images if image.startswith("steam-recsys-")]  # by kind-up.sh
    assert sorted(replaced) == ["steam-recsys-data", "steam-recsys-explorer", "steam-recsys-explorer"]
    assert all(
        re.fullmatch(r"postgres:\d+\.\d+-bookworm@sha256:[0-9a-f]{64}", image) for image in set(images) - set(replaced)
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
    texts = [
        container["resources"]["requests"]["memory"]
        for pod in [*pods(), *explorer_copies()]
        for container in pod["containers"]
    ]
    own = sum(int(text[:-2]) * UNITS[text[-2:]] for text in texts) / 1e9
    assert own + settings.parallelism * largest + MEMORY_OF_KFP_GB < 16


def test_the_largest_task_fits_on_four_cores_beside_kubernetes_and_kubeflow() -> None:
    settings = command.Target.load("kubeflow")
    largest = max(cores(settings.task_settings(task).cpu) for task in ("default", "train", "evaluate", "refit"))
    requested = [
        cores(container["resources"]["requests"]["cpu"])
        for pod in [*pods(), *explorer_copies()]
        for container in pod["containers"]
    ]
    assert sum(requested) + largest + CORES_OF_A_DRIVER + CORES_OF_KUBERNETES + CORES_OF_KFP <= 4
    shards = settings.parallelism * cores(settings.task_settings("predict").cpu)
    assert shards <= largest


def test_secret_and_claim_have_the_names_in_the_settings() -> None:
    settings = command.Target.load("kubeflow").kubeflow
    claims = {document["metadata"]["name"] for document in MANIFESTS if document["kind"] == "PersistentVolumeClaim"}
    assert claims == {settings.store_claim}
    script = (DEPLOY / "kind-up.sh").read_text()
    created = {
        name: set(re.findall(r"^(\w+)=", content, re.MULTILINE))
        for name, content in re.findall(r"create secret generic (\S+) .*\n((?:\w+=.*\n)+)EOF", script)
    }
    assert set(created) == {settings.secret, "steam-recsys-explorer"}
    used = [
        variable["valueFrom"]["secretKeyRef"]
        for pod in pods()
        for container in pod["containers"]
        for variable in container.get("env", [])
        if "valueFrom" in variable
    ]
    assert len(used) == 6
    for key in used:
        assert key["key"] in created[key["name"]] or key.get("optional"), key


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


def test_the_freshness_check_tells_todays_run_from_yesterdays_even_if_they_train_a_model() -> None:
    check, inference = (
        int(cron.split()[1]) + int(cron.split()[0]) / 60
        for cron in (freshness()["schedule"], command.Target.load("kubeflow").schedules["inference"])
    )
    (container,) = freshness()["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    max_age = float(container["command"][container["command"].index("--max-age-hours") + 1])
    longest_run = 8.0
    assert inference + longest_run <= check
    assert check - inference < max_age
    assert check + 24 - (inference + longest_run) > max_age


def test_no_file_contains_a_secret() -> None:
    assert not [document for document in MANIFESTS if document["kind"] == "Secret"]
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"://\w+:(?!\$)\w+@", path.read_text()), path


def test_the_explorers_parts_select_its_pods_and_agree_on_the_port() -> None:
    deployment, service, policy = one("Deployment"), explorer_service(), one("NetworkPolicy")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels == policy["spec"]["podSelector"]["matchLabels"]
    assert labels == one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # the autoscaler's
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port["name"]]
    assert [rule["ports"] for rule in policy["spec"]["ingress"]] == [
        [{"port": port["containerPort"], "protocol": "TCP"}]
    ]
    probed = {container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probed == {port["name"]}
    autoscaler, budget = one("HorizontalPodAutoscaler")["spec"], one("PodDisruptionBudget")["spec"]
    assert autoscaler["maxReplicas"] > autoscaler["minReplicas"] > budget["minAvailable"]


def explorer_service() -> dict:
    (service,) = (each for each in MANIFESTS if each["kind"] == "Service" and "explorer" in each["metadata"]["name"])
    return service


def test_the_explorers_probes_are_routes_of_the_explorer() -> None:
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    routes = {route.path for route in health.router.routes} | {LIVENESS}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in routes
    assert container["livenessProbe"]["httpGet"]["path"] == LIVENESS  # a database that is down is no reason to restart


def test_the_explorers_settings_exist_and_no_service_adds_others() -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = {variable["name"].removeprefix("EXPLORER_").lower() for variable in container["env"]}
    assert names <= set(Settings.model_fields)
    assert not pod["enableServiceLinks"]
    mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounted == {"/store": True, "/tmp": False}


def test_the_explorer_may_reach_its_database_and_name_servers_only() -> None:
    (rule,) = one("NetworkPolicy")["spec"]["egress"]
    assert {(port["port"], port["protocol"]) for port in rule["ports"]} == {(53, "UDP"), (53, "TCP"), (5432, "TCP")}


def test_the_job_for_the_explorers_user_ends_and_runs_a_module_of_the_image() -> None:
    job = one("Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == one("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert job["spec"]["activeDeadlineSeconds"] > 0
    assert container["command"] == ["python3", "-m", "explorer.reader"]
    assert {variable["name"] for variable in container["env"]} == {
        reference.removeprefix("env:") for reference in (reader.OWNER, reader.READER)
    }
    assert job["spec"]["template"]["metadata"]["labels"] != one("Deployment")["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("ShellCheck is not installed: its package has no wheel for this machine")
    done = subprocess.run([shellcheck, "--external-sources", str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_name_missing_programs(script: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "env"):
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
