"""The compiled pipelines and the settings, as Vertex AI reads them."""

import re
from pathlib import Path

import pytest
import yaml
from google.cloud.aiplatform_v1.types import AcceleratorType

import compile as command
from pipelines import check
from pipelines.compilation import PIPELINES
from pipelines.target import Target, TaskSettings, Vertex
from pipelines.vertex_limits import LONGEST_NAME, setting_problems, spec_problems
from steam_recsys.errors import UserError
from tests.pipelines.golden_copies import compile_golden

Spec = dict


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spec]:
    """The pipelines compiled for Vertex AI; each is a single document."""
    folder = tmp_path_factory.mktemp("vertex")
    return {path.stem: yaml.safe_load(path.read_text()) for path in compile_golden("vertex", folder)}


def dags(spec: Spec) -> list[Spec]:
    return [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]


def tasks(spec: Spec) -> list[Spec]:
    return [task for dag in dags(spec) for task in dag["tasks"].values()]


def containers(spec: Spec) -> list[Spec]:
    return [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_compiled_pipelines_are_within_the_limits(name: str, specs: dict[str, Spec]) -> None:
    assert list(spec_problems(specs[name])) == []


@pytest.mark.parametrize("name", PIPELINES)
def test_nothing_is_cached_neither_tasks_nor_nested_pipelines(name: str, specs: dict[str, Spec]) -> None:
    assert not [task for task in tasks(specs[name]) if task.get("cachingOptions", {}).get("enableCache")]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_exit_handler_is_the_roots_last_task_and_gets_the_final_state(name: str, specs: dict[str, Spec]) -> None:
    root = specs[name]["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "record-run"}
    assert root["record-run"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert root["record-run"]["inputs"]["parameters"]["status"] == {
        "taskFinalStatus": {"producerTask": "exit-handler-1"}
    }
    recorder = specs[name]["components"]["comp-record-run"]["inputDefinitions"]["parameters"]
    assert recorder["status"] == {"isOptional": True, "parameterType": "TASK_FINAL_STATUS"}
    assert not any("triggerPolicy" in task and "strategy" in task["triggerPolicy"] for task in tasks(specs[name])[2:])


@pytest.mark.parametrize("name", PIPELINES)
def test_every_container_has_an_image_and_a_machine(name: str, specs: dict[str, Spec]) -> None:
    for container in containers(specs[name]):
        assert re.fullmatch(r"\S+/(data|model):CONTENT", container["image"])
        assert container["resources"]["cpuLimit"] >= 2
        assert container["resources"]["memoryLimit"] >= 8


@pytest.mark.parametrize("name", PIPELINES)
def test_retries_are_counted_and_their_pauses_are_whole_seconds(name: str, specs: dict[str, Spec]) -> None:
    policies = [task["retryPolicy"] for task in tasks(specs[name]) if "retryPolicy" in task]
    assert policies
    for policy in policies:
        assert policy["maxRetryCount"] >= 1
        assert all(re.fullmatch(r"\d+s", policy[key]) for key in ("backoffDuration", "backoffMaxDuration"))


@pytest.mark.parametrize(
    ("name", "stage"), [("training", "evaluate"), ("inference", "evaluate"), ("inference", "monitor")]
)
def test_the_console_can_compare_the_metrics_of_runs(name: str, stage: str, specs: dict[str, Spec]) -> None:
    outputs = specs[name]["components"][f"comp-{stage}"]["outputDefinitions"]["artifacts"]
    assert outputs["metrics"]["artifactType"]["schemaTitle"] == "system.Metrics"


@pytest.mark.parametrize("name", ["training", "inference"])
def test_promotion_gets_the_image_that_serves_the_model(name: str, specs: dict[str, Spec]) -> None:
    (promotion,) = (task for task in tasks(specs[name]) if task["componentRef"]["name"] == "comp-promote")
    constant = promotion["inputs"]["parameters"]["serving_image"]["runtimeValue"]["constant"]
    assert constant == "localhost/steam-recsys/explorer:CONTENT"


def small_spec(**changes: object) -> Spec:
    executors = {"exec-train": {"container": {"resources": changes.pop("resources", {})}}}
    return {
        "pipelineInfo": {"name": changes.pop("pipeline", "training")},
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "root": {"dag": {"tasks": {changes.pop("task", "train"): {}}}},
        "deploymentSpec": {"executors": executors},
    }


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (small_spec(), None),
        (small_spec(task="t" * LONGEST_NAME), None),
        (small_spec(task="t" * (LONGEST_NAME + 1)), "at most 63 lower-case letters, digits and dashes: rename it"),
        (small_spec(task="Train"), "the name Train must have"),
        (small_spec(pipeline="p" * 108), "the pipeline's name has more than 107 characters"),
        (small_spec(resources={"cpuLimit": 96.0, "memoryLimit": 624.0}), None),
        (
            small_spec(resources={"cpuLimit": 97.0}),
            "train requests 97 cores, and a machine .* at most 96: lower its cpu",
        ),
        (small_spec(resources={"memoryLimit": 625.0}), "train requests 625 GB, .* at most 624: lower its memory"),
        (
            small_spec(resources={"accelerator": {"type": "nvidia.com/gpu"}}),
            "the accelerator nvidia.com/gpu: use Vertex",
        ),
        (small_spec(resources={"accelerator": {"resourceType": "NVIDIA_L4"}}), None),
    ],
)
def test_a_compiled_pipeline_beyond_a_limit_is_refused(spec: Spec, sentence: str | None) -> None:
    problems = list(spec_problems(spec))
    assert len(problems) == (sentence is not None)
    assert all(re.search(sentence or "", problem) for problem in problems)


def test_a_platform_document_is_refused() -> None:
    assert list(spec_problems(small_spec(), {"platforms": {}})) == [
        "it has a platform document, which Vertex AI refuses: report this as a bug."
    ]


def test_every_accelerator_of_vertex_is_accepted() -> None:
    names = [kind.name for kind in AcceleratorType if kind.value]
    assert len(names) > 10
    for name in names:
        assert list(spec_problems(small_spec(resources={"accelerator": {"type": name}}))) == []


REGISTRY = "europe-west1-docker.pkg.dev/p/steam-recsys"


@pytest.mark.parametrize(
    ("vertex", "others", "sentence"),
    [
        ({}, {}, None),
        ({"network": "projects/123/global/networks/shop"}, {}, None),
        ({"network": "projects/my-project/global/networks/shop"}, {}, "__NETWORK is .* with the number"),
        ({"network_attachment": "projects/p/regions/europe-west1/networkAttachments/tasks"}, {}, None),
        ({"network_attachment": "projects/p/regions/europe-west4/networkAttachments/tasks"}, {}, "europe-west1/netw"),
        ({"network_attachment": "tasks"}, {}, "__NETWORK_ATTACHMENT is tasks: Vertex AI requires projects/PROJECT"),
        ({"encryption_key": "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"}, {}, None),
        ({"encryption_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k"}, {}, "_ENCRYPTION_KEY is .*-west1/"),
        ({"labels": {"team": "data-science_1", "größe": ""}}, {}, None),
        ({"labels": {"Team": "x"}}, {}, "LABELS has Team=x: Vertex AI accepts at most 63 lower-case"),
        ({"labels": {"team": "a.b"}}, {}, "LABELS has team=a.b"),
        ({"labels": {"1st": "x"}}, {}, "keys that begin with a letter"),
        ({"labels": {"team": "x" * 64}}, {}, "at most 63"),
        ({"labels": {f"l{number}": "" for number in range(65)}}, {}, "has 65 labels: Vertex AI accepts 64"),
        ({}, {"parameters": {"registry": "vertex://p/europe-west1"}, "registry": REGISTRY}, None),
        ({}, {"parameters": {"registry": "vertex://p/europe-west1"}}, "Artifact Registry only, LOCATION-docker"),
        ({}, {"parameters": {"registry": "p/europe-west1"}, "registry": REGISTRY}, "write vertex://PROJECT/LOCATION"),
    ],
)  # fmt: skip
def test_a_setting_that_vertex_would_refuse_is_refused(vertex: dict, others: dict, sentence: str | None) -> None:
    target = Target(name="vertex", vertex=Vertex(region="europe-west1", **vertex), **others)
    problems = list(setting_problems(target))
    assert len(problems) == (sentence is not None)
    assert all(re.search(sentence or "", problem) for problem in problems)


def test_refused_settings_stop_the_check_and_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no docker
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__LABELS", '{"app": "Steam"}')
    with pytest.raises(SystemExit, match="VERTEX__LABELS has app=Steam"):
        command.main(["--target", "vertex", "--output", str(tmp_path), "--check"])
    with pytest.raises(UserError, match="VERTEX__LABELS has app=Steam"):
        check.check_run(Target.load("vertex"), "training", {"store": "gs://b/s", "source": "sm://x"})
    check.check_platform_settings(Target.load("kubeflow"))  # Vertex AI's limits are not Kubeflow's


def test_a_task_beyond_a_limit_stops_the_check(tmp_path: Path) -> None:
    target = Target(name="vertex", tasks={"train": TaskSettings(accelerator="nvidia.com/gpu")})
    compiled = command.compile_pipelines(target, tmp_path)
    with pytest.raises(UserError, match=r"training\.yaml: the task train requests the accelerator nvidia\.com/gpu"):
        check.check_compiled(target, compiled)


def test_the_serving_image_is_looked_up_if_models_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_command_error", lambda *command: "")
    plain = [image for image, _ in check.image_states(Target.load("vertex"))]
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__REGISTRY", "vertex://p/europe-west1")
    registering = [image for image, _ in check.image_states(Target.load("vertex"))]
    assert len(plain) == 2
    assert [image for image in registering if image not in plain] == [Target.load("vertex").image("explorer")]
