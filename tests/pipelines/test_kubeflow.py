"""The real client of Kubeflow Pipelines against a server on loopback."""

from __future__ import annotations

import pytest
import yaml

from components.notify.outcome import JOB
from pipelines.kubeflow import KubeflowPipelines
from pipelines.target import Target
from steam_recsys.errors import UserError
from tests.pipelines.api_server import Answer, Api, Request, serving
from tests.pipelines.golden_copies import GOLDEN

PIPELINE = GOLDEN / "kubeflow" / "training.yaml"
PARAMETERS = {"store": "/store", "seed": 7}
API = "/apis/v2beta1"


class Kubeflow:
    """The part of the API that the client uses."""

    def __init__(self) -> None:
        self.pipelines: dict[str, str] = {}
        self.versions: list[dict] = []
        self.recurring: dict[str, dict] = {}
        self.state = "SUCCEEDED"

    def answer(self, request: Request) -> Answer:
        match request.method, request.path.removeprefix(API).strip("/").split("/"):
            case "GET", ["healthz"]:
                return 200, {"multi_user": False}
            case "GET", ["experiments"]:
                return 200, {"experiments": [{"experiment_id": "e-1", "display_name": "steam-recsys"}]}
            case "GET", ["pipelines"]:
                return 200, {"pipelines": [{"pipeline_id": id, "display_name": n} for n, id in self.pipelines.items()]}
            case "POST", ["pipelines", "upload"]:
                return 200, self._uploaded(request)
            case "POST", ["pipelines", "upload_version"]:
                version = {"pipeline_version_id": f"v-{len(self.versions)}", "display_name": request.query["name"]}
                self.versions.append(version)
                return 200, self.versions[-1]
            case "GET", ["pipelines", _, "versions"]:
                return 200, {"pipeline_versions": self.versions}
            case "POST", ["runs"]:
                return 200, {"run_id": "r-1", **request.body}
            case "GET", ["runs", "r-1"]:
                return 200, {"run_id": "r-1", "state": self.state}
            case "GET", ["recurringruns"]:
                return 200, {"recurringRuns": list(self.recurring.values())}
            case "POST", ["recurringruns"]:
                key = f"s-{len(self.recurring) + 1}"
                self.recurring[key] = {"recurring_run_id": key, **request.body}
                return 200, self.recurring[key]
            case "DELETE", ["recurringruns", key]:
                del self.recurring[key]
                return 200, {}
        return 404, {"error": f"no {request.method} {request.path}"}

    def _uploaded(self, request: Request) -> dict:
        self.pipelines["steam-recsys-training"] = "p-1"
        return {"pipeline_id": "p-1", "display_name": "steam-recsys-training"}


@pytest.fixture
def kubeflow() -> Kubeflow:
    return Kubeflow()


@pytest.fixture
def api(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    with serving(kubeflow.answer) as api:
        monkeypatch.setenv("STEAM_RECSYS_KUBEFLOW__HOST", api.url)
        monkeypatch.setenv("KUBEFLOW_TOKEN", "a-token")
        yield api


@pytest.fixture
def pipelines(api: Api) -> KubeflowPipelines:
    return KubeflowPipelines(Target.load("kubeflow"))


def test_a_submission_uploads_the_pipeline_and_runs_that_version(
    pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow
) -> None:
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    assert submitted.url == f"{api.url}/#/runs/details/r-1" == Target.load("kubeflow").page.replace(JOB, "r-1")
    (run,) = api.requests_to("POST", "/runs")
    assert run.body["experiment_id"] == "e-1"
    assert run.body["pipeline_version_reference"] == {"pipeline_id": "p-1", "pipeline_version_id": "v-0"}
    assert run.body["runtime_config"]["parameters"] == PARAMETERS
    (uploaded,) = api.requests_to("POST", "/upload_version")
    assert b"exec-train" in uploaded.body
    assert b"secretName: steam-recsys" in uploaded.body


def test_an_existing_version_is_not_uploaded_again(pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow) -> None:
    for pipeline in (PIPELINE, PIPELINE, GOLDEN / "kubeflow" / "inference.yaml"):
        pipelines.submit(pipeline, PARAMETERS)
    assert len(api.requests_to("POST", "/upload_version")) == len(kubeflow.versions) == 2


def test_a_run_is_followed_to_its_end(pipelines: KubeflowPipelines, kubeflow: Kubeflow, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pipelines.submit(PIPELINE, PARAMETERS).wait()
    kubeflow.state = "FAILED"
    with pytest.raises(UserError, match=r"The run ended as FAILED: see http://127.0.0.1:.*/runs/details/r-1"):
        pipelines.submit(PIPELINE, PARAMETERS).wait()


def test_a_schedule_is_replaced_by_the_next_and_removed(
    pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow
) -> None:
    pipelines.schedule(PIPELINE, PARAMETERS, "0 3 * * 1")
    url = pipelines.schedule(PIPELINE, PARAMETERS, "0 4 * * 1")
    (schedule,) = kubeflow.recurring.values()
    assert url.endswith(f"/#/recurringrun/details/{schedule['recurring_run_id']}")
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * 1"
    assert schedule["no_catchup"]
    assert pipelines.unschedule("training") == 1
    assert pipelines.unschedule("training") == 0


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"did not accept the credentials: log in \(gcloud auth .*\), or renew the token"),
        (403, "denied permission .*: grant the account the missing role"),
        (404, "did not find the resource .*: correct the settings"),
        (409, "already has a resource of that name .*: submit again"),
    ],
)
def test_a_refusal_is_explained_and_not_retried(
    status: int, sentence: str, pipelines: KubeflowPipelines, api: Api
) -> None:
    api.failures["POST"] = [status]
    with pytest.raises(UserError, match=sentence) as refused:
        pipelines.submit(PIPELINE, PARAMETERS)
    assert "\n" not in str(refused.value)
    assert len([request for request in api.requests if request.method == "POST"]) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_temporary_error_is_retried(status: int, pipelines: KubeflowPipelines, api: Api, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    api.failures["GET"] = [status, status]
    pipelines.submit(PIPELINE, PARAMETERS)


def test_an_unreachable_api_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_KUBEFLOW__HOST", "http://127.0.0.1:1")
    monkeypatch.setattr("pipelines.platform.RETRY_SECONDS", 0.1)
    with pytest.raises(
        UserError, match=r"Kubeflow Pipelines at http://127.0.0.1:1 cannot be reached or does not answer"
    ):
        KubeflowPipelines(Target.load("kubeflow"))


def test_the_token_is_sent_in_the_header_of_every_request_only(pipelines: KubeflowPipelines, api: Api) -> None:
    pipelines.submit(PIPELINE, PARAMETERS)
    assert {request.authorization for request in api.requests} == {"Bearer a-token"}
    assert "a-token" not in str([(request.path, request.query, request.body) for request in api.requests])


@pytest.mark.parametrize("name", ["ingestion", "training", "inference"])
def test_kubeflow_yaml_mounts_secret_and_volume_in_every_task_and_vertex_yaml_has_no_platform_document(
    name: str,
) -> None:
    spec, platform_spec = yaml.safe_load_all((GOLDEN / "kubeflow" / f"{name}.yaml").read_text())
    executors = platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for executor in executors.values():
        assert {secret["secretName"] for secret in executor["secretAsEnv"]} == {"steam-recsys"}
        keys = {each["envVar"]: secret["optional"] for secret in executor["secretAsEnv"] for each in secret["keyToEnv"]}
        s3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_REGION")
        assert keys == {"DATABASE_URL": False, "MONGODB_URL": True, "ALERTS_URL": True, **dict.fromkeys(s3, True)}
        assert [mount["mountPath"] for mount in executor["pvcMount"]] == ["/store"]
    assert len(list(yaml.safe_load_all((GOLDEN / "vertex" / f"{name}.yaml").read_text()))) == 1
