"""The real client of Vertex AI against a server on loopback."""

from __future__ import annotations

import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import aiplatform
from google.cloud.aiplatform import initializer
from google.cloud.aiplatform.utils import gcs_utils

from components.notify.outcome import JOB
from pipelines import platform
from pipelines.target import Target
from pipelines.vertex import VertexPipelines
from steam_recsys.errors import UserError
from tests.pipelines.api_server import Answer, Api, Request, serving
from tests.pipelines.golden_copies import GOLDEN

EMPTY = "type.googleapis.com/google.protobuf.Empty"
LOCATION = "projects/my-project/locations/europe-west1"
PIPELINE = GOLDEN / "vertex" / "training.yaml"
PARAMETERS = {"source": "sm://projects/p/secrets/s/versions/1", "store": "gs://bucket/store", "seed": 7}


class Vertex:
    """The part of Vertex AI's API that the client uses."""

    def __init__(self) -> None:
        self.schedules: dict[str, dict] = {}
        self.state = "PIPELINE_STATE_SUCCEEDED"
        self.runs: set[str] = set()
        self.created = 0
        self.lost_answers = 0
        """How many of the next runs and schedules are created, but answered with 503."""

    def answer(self, request: Request) -> Answer:
        answer = self._answer(request)
        if request.method == "POST" and answer[0] == 200 and self.lost_answers:
            self.lost_answers -= 1
            return 503, {"error": {"message": "unavailable"}}
        return answer

    def _answer(self, request: Request) -> Answer:
        match request.method, request.path.rpartition("/")[2]:
            case "POST", "pipelineJobs":
                if (run := request.query["pipelineJobId"]) in self.runs:
                    return 409, {"error": {"message": f"{run} exists"}}
                self.runs.add(run)
                return 200, {
                    "name": f"{LOCATION}/pipelineJobs/run-1",
                    **request.body,
                    "state": "PIPELINE_STATE_PENDING",
                }
            case "GET", "run-1":
                return 200, {"name": f"{LOCATION}/pipelineJobs/run-1", "state": self.state}
            case "GET", run if run in self.runs:
                return 200, {"name": f"{LOCATION}/pipelineJobs/{run}", "state": self.state}
            case "POST", "schedules":
                self.created += 1
                name = f"{LOCATION}/schedules/{self.created}"
                self.schedules[name] = {"name": name, **request.body}
                return 200, self.schedules[name]
            case "GET", "schedules":
                return 200, {"schedules": list(self.schedules.values())}
            case "DELETE", _:
                self.schedules.pop(request.path.removeprefix("/v1/"))
                return 200, {"name": f"{LOCATION}/operations/1", "done": True, "response": {"@type": EMPTY}}
        return 404, {"error": {"message": f"no {request.path}"}}


@pytest.fixture
def vertex() -> Vertex:
    return Vertex()


@pytest.fixture
def api(vertex: Vertex, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__PROJECT", "my-project")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__REGION", "europe-west1")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__STAGING_BUCKET", "gs://staging")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__SERVICE_ACCOUNT", "pipelines@my-project.iam.gserviceaccount.com")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__NETWORK", "projects/1/global/networks/shop")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__ENCRYPTION_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k")
    # Before each submission the client asks another service whether the bucket belongs to the project.
    monkeypatch.setattr(gcs_utils, "create_gcs_bucket_for_pipeline_artifacts_if_it_does_not_exist", lambda **_: None)
    with serving(vertex.answer) as api:
        aiplatform.init(api_transport="rest", api_endpoint=api.url, credentials=AnonymousCredentials())
        yield api
    initializer.global_config.__init__()  # forget the server


@pytest.fixture
def pipelines(api: Api) -> VertexPipelines:
    return VertexPipelines(Target.load("vertex"))


def test_a_submission_contains_pipeline_parameters_and_settings(pipelines: VertexPipelines, api: Api) -> None:
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    assert submitted.url == Target.load("vertex").page.replace(JOB, "run-1")  # alerts contain this URL
    (request,) = api.requests_to("POST", "/pipelineJobs")
    assert request.path == f"/v1/{LOCATION}/pipelineJobs"
    body = request.body
    executors = body["pipelineSpec"]["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"]["image"] == "localhost/steam-recsys/model:CONTENT"
    assert executors["exec-train"]["container"]["resources"]["memoryLimit"] == 32
    assert body["runtimeConfig"]["parameterValues"] == PARAMETERS
    assert body["runtimeConfig"]["gcsOutputDirectory"] == "gs://staging/pipeline-root"
    assert body["runtimeConfig"]["failurePolicy"] in ("PIPELINE_FAILURE_POLICY_FAIL_FAST", 2)
    assert body["serviceAccount"] == "pipelines@my-project.iam.gserviceaccount.com"
    assert body["network"] == "projects/1/global/networks/shop"
    assert body["encryptionSpec"]["kmsKeyName"] == "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    assert body["labels"]["app"] == "steam-recsys"
    assert "platforms" not in json.dumps(body)


def test_runs_and_schedules_use_the_network_attachment(
    api: Api, vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = "projects/my-project/regions/europe-west1/networkAttachments/tasks"
    monkeypatch.delenv("STEAM_RECSYS_VERTEX__NETWORK")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__NETWORK_ATTACHMENT", attachment)
    pipelines = VertexPipelines(Target.load("vertex"))
    pipelines.submit(PIPELINE, PARAMETERS)
    pipelines.schedule(PIPELINE, PARAMETERS, "0 3 * * 1")
    (request,) = api.requests_to("POST", "/pipelineJobs")
    (schedule,) = vertex.schedules.values()
    for job in (request.body, schedule["createPipelineJobRequest"]["pipelineJob"]):
        assert job["pscInterfaceConfig"] == {"networkAttachment": attachment}
        assert not job.get("network")


def test_a_run_is_followed_to_its_end(pipelines: VertexPipelines, vertex: Vertex, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pipelines.submit(PIPELINE, PARAMETERS).wait()
    vertex.state = "PIPELINE_STATE_FAILED"
    with pytest.raises(UserError, match=r"The run ended as FAILED: see https://console.cloud.google.com/"):
        pipelines.submit(PIPELINE, PARAMETERS).wait()


@pytest.mark.parametrize("status", [429, 503])
def test_a_temporary_error_is_retried_with_the_same_id(
    status: int, pipelines: VertexPipelines, api: Api, monkeypatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    api.failures["POST"] = [status, status]
    pipelines.submit(PIPELINE, PARAMETERS)
    assert len(api.requests_to("POST", "/pipelineJobs")) == 3


def test_a_slash_after_the_bucket_does_not_become_an_empty_folder(api: Api, monkeypatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__STAGING_BUCKET", "gs://staging/")
    VertexPipelines(Target.load("vertex")).submit(PIPELINE, PARAMETERS)
    (request,) = api.requests_to("POST", "/pipelineJobs")
    assert request.body["runtimeConfig"]["gcsOutputDirectory"] == "gs://staging/pipeline-root"


def test_a_run_whose_answer_was_lost_is_not_started_again(
    pipelines: VertexPipelines, api: Api, vertex: Vertex, monkeypatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    vertex.lost_answers = 1
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    (run,) = vertex.runs
    assert submitted.url == Target.load("vertex").page.replace(JOB, run)
    assert len(api.requests_to("POST", "/pipelineJobs")) == 2
    submitted.wait()


def test_a_schedule_whose_answer_was_lost_exists_once(pipelines: VertexPipelines, vertex: Vertex, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    vertex.lost_answers = 1
    pipelines.schedule(PIPELINE, PARAMETERS, "0 3 * * 1")
    assert [schedule["displayName"] for schedule in vertex.schedules.values()] == ["steam-recsys training"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "Vertex AI refused the request .*no such luck.*: correct the settings or the parameters"),
        (403, "Vertex AI denied permission .*: grant the account the missing role"),
        (404, "Vertex AI did not find the resource .*: correct the settings"),
    ],
)
def test_a_refusal_is_explained_and_not_retried(
    status: int, sentence: str, pipelines: VertexPipelines, api: Api
) -> None:
    api.failures["POST"] = [status]
    with pytest.raises(UserError, match=sentence) as refused:
        pipelines.submit(PIPELINE, PARAMETERS)
    assert "\n" not in str(refused.value)
    assert len(api.requests_to("POST", "/pipelineJobs")) == 1


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(429, "is over its quota .*: try again later"), (503, "cannot be reached or does not answer")],
)
def test_a_lasting_error_is_reported(
    status: int, sentence: str, pipelines: VertexPipelines, api: Api, monkeypatch
) -> None:
    monkeypatch.setattr(platform, "RETRY_SECONDS", 0.1)
    api.failures["POST"] = [status] * 50
    with pytest.raises(UserError, match=f"Vertex AI {sentence}"):
        pipelines.submit(PIPELINE, PARAMETERS)


def test_a_schedule_is_replaced_by_the_next_and_removed(pipelines: VertexPipelines, api: Api, vertex: Vertex) -> None:
    pipelines.schedule(PIPELINE, PARAMETERS, "0 3 * * 1")
    pipelines.schedule(GOLDEN / "vertex" / "inference.yaml", {}, "0 5 * * *")
    pipelines.schedule(PIPELINE, PARAMETERS, "0 4 * * 1")
    left = {schedule["displayName"]: schedule for schedule in vertex.schedules.values()}
    assert set(left) == {"steam-recsys training", "steam-recsys inference"}
    assert len(vertex.schedules) == 2
    training = left["steam-recsys training"]
    assert training["cron"] == "TZ=UTC 0 4 * * 1"
    job = training["createPipelineJobRequest"]["pipelineJob"]
    assert job["runtimeConfig"]["parameterValues"] == PARAMETERS
    assert job["serviceAccount"] == "pipelines@my-project.iam.gserviceaccount.com"
    assert pipelines.unschedule("training") == 1
    assert pipelines.unschedule("training") == 0
    assert [schedule["displayName"] for schedule in vertex.schedules.values()] == ["steam-recsys inference"]


@pytest.mark.parametrize("call", ["submit", "schedule", "unschedule"])
def test_missing_credentials_are_reported(call: str, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    initializer.global_config.__init__()

    def no_credentials(*_: object, **__: object) -> None:
        raise DefaultCredentialsError("not found")

    monkeypatch.setattr("google.auth.default", no_credentials)
    pipelines = VertexPipelines(Target.load("vertex"))
    arguments = {"submit": (PIPELINE, {}), "schedule": (PIPELINE, {}, "0 3 * * 1"), "unschedule": ("training",)}[call]
    with pytest.raises(UserError, match=r"Vertex AI did not accept the credentials: log in \(gcloud auth"):
        getattr(pipelines, call)(*arguments)


def test_an_unknown_region_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__REGION", "moon")
    with pytest.raises(UserError, match=r"Vertex AI has no region moon: correct STEAM_RECSYS_VERTEX__REGION\."):
        VertexPipelines(Target.load("vertex"))


def test_a_missing_setting_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEAM_RECSYS_VERTEX__PROJECT", raising=False)
    with pytest.raises(UserError, match="vertex has no project: set STEAM_RECSYS_VERTEX__PROJECT"):
        VertexPipelines(Target.load("vertex"))
