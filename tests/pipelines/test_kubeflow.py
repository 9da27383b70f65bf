"""The real client of Kubeflow Pipelines against a server on loopback."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from components.notify.outcome import JOB
from pipelines.compilation import compile_pipelines
from pipelines.kubeflow import KubeflowPipelines
from pipelines.target import URL_VARIABLES, Target
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import S3_VARIABLES
from tests.pipelines.api_server import Answer, Api, Request, serving
from tests.pipelines.golden_copies import GOLDEN

PIPELINE = GOLDEN / "kubeflow" / "training.yaml"
PARAMETERS = {"store": "/store", "seed": 7}
API = "/apis/v2beta1"
CODES = {401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 503: 14}
"""gRPC's codes by HTTP status."""


class Kubeflow:
    """The part of the API that the client uses, which answers as a real one did.

    A run's state is that of its workflow. Its tasks are the workflow's nodes, among them Kubeflow's own; their errors
    and pods are empty. A new pipeline has a version of the same name. Lists are filtered by display name and come in
    pages of ten. The two upload paths have errors of another form.
    """

    def __init__(self) -> None:
        self.pipelines: list[dict] = []
        self.versions: list[dict] = []
        self.runs: dict[str, list[dict]] = {}
        self.recurring: dict[str, dict] = {}
        self._numbers = itertools.count(1)
        self.reports = [report("SUCCEEDED")]
        """What a submitted run reports from one look to the next; the last report stays."""

    def answer(self, request: Request) -> Answer:
        match request.method, request.path.removeprefix(API).strip("/").split("/"):
            case "GET", ["healthz"]:
                return 200, {"multi_user": False}
            case "GET", ["experiments"]:
                return 200, {"experiments": [{"experiment_id": "e-1", "display_name": "steam-recsys"}]}
            case "GET", ["pipelines"]:
                return 200, _page(request, "pipelines", self.pipelines)
            case "POST", ["pipelines", "upload"]:
                pipeline = {"pipeline_id": f"p-{next(self._numbers)}", "display_name": request.query["name"]}
                self.pipelines.append(pipeline)
                self._add_version(pipeline["pipeline_id"], request.query["name"])
                return 200, pipeline
            case "POST", ["pipelines", "upload_version"]:
                pipeline, name = request.query["pipelineid"], request.query["name"]
                if any((each["pipeline_id"], each["display_name"]) == (pipeline, name) for each in self.versions):
                    return 409, self.error(request, 409)
                return 200, self._add_version(pipeline, name)
            case "GET", ["pipelines", pipeline, "versions"]:
                versions = [each for each in self.versions if each["pipeline_id"] == pipeline]
                return 200, _page(request, "pipeline_versions", versions)
            case "POST", ["runs"]:
                run = f"r-{len(self.runs) + 1}"
                self.runs[run] = list(self.reports)
                return 200, {"run_id": run, "state": "PENDING", **request.body}
            case "GET", ["runs", run] if run in self.runs:
                reports = self.runs[run]
                return 200, {"run_id": run, **(reports.pop(0) if len(reports) > 1 else reports[0])}
            case "GET", ["recurringruns"]:
                return 200, _page(request, "recurringRuns", list(self.recurring.values()))
            case "POST", ["recurringruns"]:
                key = f"s-{next(self._numbers)}"
                self.recurring[key] = {"recurring_run_id": key, "status": "ENABLED", **request.body}
                return 200, self.recurring[key]
            case "DELETE", ["recurringruns", key]:
                del self.recurring[key]
                return 200, {}
        return 404, self.error(request, 404)

    def error(self, request: Request, status: int) -> dict:
        """Return the body of an error."""
        text = f"Failed to answer {request.method} {request.path}: no such luck"
        if "/upload" in request.path:
            return {"error_message": text, "error_details": f"{text}\ngithub.com/kubeflow/pipelines/…"}
        return {"error": text, "code": CODES.get(status, 13), "message": text, "details": []}

    def _add_version(self, pipeline: str, name: str) -> dict:
        version = {"pipeline_id": pipeline, "pipeline_version_id": f"v-{next(self._numbers)}", "display_name": name}
        self.versions.append(version)
        return version


def report(state: str | None, *tasks: tuple[str, str]) -> dict:
    """Return what a run reports, with its tasks' names and states; a new run has neither a state nor tasks."""
    details = [
        {
            "run_id": "r-1", "task_id": f"t-{number}", "display_name": name, "state": task, "execution_id": "0",
            "create_time": "2026-11-28T16:03:45Z", "start_time": "2026-11-28T16:03:45Z", "end_time": None,
            "child_tasks": [{"pod_name": f"training-x7k2p-{number + 1}"}],
        }
        for number, (name, task) in enumerate(tasks)
    ]  # fmt: skip
    return {"state": state, "run_details": {"task_details": details}} if tasks else {"state": state}


def _page(request: Request, key: str, rows: list[dict]) -> dict:
    wanted = [
        predicate["stringValue"]
        for predicate in json.loads(request.query.get("filter", "{}")).get("predicates", [])
        if (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
    ]
    found = [row for row in rows if all(row["display_name"] == name for name in wanted)]
    page = found[: int(request.query.get("page_size", 10))]
    return {key: page, "total_size": len(found), **({"next_page_token": "more"} if len(found) > len(page) else {})}


@pytest.fixture
def kubeflow() -> Kubeflow:
    return Kubeflow()


@pytest.fixture
def api(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    with serving(kubeflow.answer) as api:
        api.error = kubeflow.error
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
    assert run.body["pipeline_version_reference"] == {"pipeline_id": "p-1", "pipeline_version_id": "v-3"}
    assert run.body["runtime_config"]["parameters"] == PARAMETERS
    (uploaded,) = api.requests_to("POST", "/upload_version")
    assert b"exec-train" in uploaded.body
    assert b"secretName: steam-recsys" in uploaded.body


def test_an_existing_version_is_not_uploaded_again(pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow) -> None:
    for pipeline in (PIPELINE, PIPELINE, GOLDEN / "kubeflow" / "inference.yaml"):
        pipelines.submit(pipeline, PARAMETERS)
    assert len(api.requests_to("POST", "/upload_version")) == 2
    assert len(api.requests_to("POST", "/upload")) == 2
    assert [len(kubeflow.runs), len(kubeflow.versions)] == [3, 4]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_a_version_is_found_among_many_others(pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow) -> None:
    pipelines.submit(PIPELINE, PARAMETERS)
    others = [f"other {number}" for number in range(300)]
    kubeflow.versions[:0] = [
        {"pipeline_id": "p-1", "pipeline_version_id": name, "display_name": name} for name in others
    ]
    pipelines.submit(PIPELINE, PARAMETERS)
    assert len(api.requests_to("POST", "/upload_version")) == 1


def test_pipelines_are_uploaded_into_the_namespace_because_users_may_not_share_them(
    pipelines: KubeflowPipelines, api: Api
) -> None:
    pipelines.submit(PIPELINE, PARAMETERS)
    (uploaded,) = api.requests_to("POST", "/upload")
    (listed,) = api.requests_to("GET", "/pipelines")
    assert uploaded.query["namespace"] == listed.query["namespace"] == "kubeflow"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_is_followed_to_its_end(
    state: str, pipelines: KubeflowPipelines, kubeflow: Kubeflow, no_pauses: None
) -> None:
    kubeflow.reports = [report(None), report("PENDING"), report("RUNNING"), report("SUCCEEDED")]
    pipelines.submit(PIPELINE, PARAMETERS).wait()
    kubeflow.reports = [report("RUNNING"), report("PAUSED"), report("CANCELING"), report(state)]
    with pytest.raises(UserError, match=rf"The run ended as {state}: see http://127.0.0.1:.*/runs/details/r-2"):
        pipelines.submit(PIPELINE, PARAMETERS).wait()


def test_progress_is_printed_per_task(
    pipelines: KubeflowPipelines, kubeflow: Kubeflow, no_pauses: None, capsys: pytest.CaptureFixture[str]
) -> None:
    driver, node = ("extract-driver", "SUCCEEDED"), ("training-x7k2p", "RUNNING")
    kubeflow.reports = [
        report("RUNNING", node, ("extract-driver", "RUNNING")),
        report("RUNNING", node, driver, ("extract", "RUNNING"), ("executor", "RUNNING")),
        report("RUNNING", node, driver, ("extract", "RUNNING"), ("executor", "RUNNING")),
        report("SUCCEEDED", node, driver, ("extract", "SUCCEEDED"), ("executor", "SUCCEEDED")),
    ]
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    capsys.readouterr()
    submitted.wait()
    assert capsys.readouterr().out == "compile.py: extract: running\ncompile.py: extract: succeeded\n"


def test_a_waiting_pod_is_shown_with_a_command_that_says_why(
    pipelines: KubeflowPipelines,
    kubeflow: Kubeflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = itertools.count(0, 40)
    monkeypatch.setattr("pipelines.kubeflow.time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(clock)))
    kubeflow.reports = [report("RUNNING", ("train", "RUNNING"), ("executor", "PENDING"))] * 2 + [report("SUCCEEDED")]
    pipelines.submit(PIPELINE, PARAMETERS).wait()
    output = capsys.readouterr().out
    assert "compile.py: train: a pod has been pending for 1 min: the cluster lacks free CPU or memory" in output
    assert "kubectl --namespace kubeflow get pods --selector=pipeline/runid=r-1 shows which." in output


def test_an_api_that_is_away_for_a_moment_does_not_end_the_wait(
    pipelines: KubeflowPipelines, api: Api, kubeflow: Kubeflow, no_pauses: None
) -> None:
    kubeflow.reports = [report("RUNNING"), report("SUCCEEDED")]
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    api.failures["GET"] = [503, 429]
    submitted.wait()
    assert not api.failures["GET"]


def test_a_token_that_expires_during_the_wait_is_reported(pipelines: KubeflowPipelines, api: Api) -> None:
    submitted = pipelines.submit(PIPELINE, PARAMETERS)
    api.failures["GET"] = [401]
    with pytest.raises(
        UserError, match=r"^The run goes on, see http.*: .* did not accept the credentials: .* the token"
    ):
        submitted.wait()


def test_a_run_that_does_not_end_is_not_waited_for_forever(
    pipelines: KubeflowPipelines, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    monkeypatch.setattr("pipelines.kubeflow.LONGEST_RUN_SECONDS", 0.2)
    kubeflow.reports = [report("RUNNING")]
    with pytest.raises(UserError, match=r"The run has not ended after .* kubectl --namespace kubeflow get pods"):
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
    pipelines.schedule(GOLDEN / "kubeflow" / "inference.yaml", {"store": "/store"}, "0 5 * * *")
    assert pipelines.unschedule("training") == 1
    assert pipelines.unschedule("training") == 0
    assert [each["display_name"] for each in kubeflow.recurring.values()] == ["steam-recsys-inference"]


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
    assert ("no such luck" in str(refused.value)) == (status != 401)
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


def test_google_credentials_are_a_file_in_every_task_and_in_no_yaml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEAM_RECSYS_KUBEFLOW__GOOGLE_SECRET", "google")
    for path in compile_pipelines(Target.load("kubeflow"), tmp_path):
        spec, platform_spec = yaml.safe_load_all(path.read_text())
        executors = platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for name, executor in spec["deploymentSpec"]["executors"].items():
            (mount,) = executors[name]["secretAsVolume"]
            variables = {each["name"]: each["value"] for each in executor["container"]["env"]}
            assert mount["secretName"] == "google"
            assert variables["GOOGLE_APPLICATION_CREDENTIALS"] == f"{mount['mountPath']}/credentials.json"


@pytest.mark.parametrize("name", ["ingestion", "training", "inference", "refresh"])
def test_kubeflow_yaml_mounts_secret_and_volume_in_every_task_and_vertex_yaml_has_no_platform_document(
    name: str,
) -> None:
    spec, platform_spec = yaml.safe_load_all((GOLDEN / "kubeflow" / f"{name}.yaml").read_text())
    executors = platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for executor in executors.values():
        assert {secret["secretName"] for secret in executor["secretAsEnv"]} == {"steam-recsys"}
        keys = {each["envVar"]: secret["optional"] for secret in executor["secretAsEnv"] for each in secret["keyToEnv"]}
        assert keys == {"DATABASE_URL": False, **dict.fromkeys((*URL_VARIABLES[1:], *S3_VARIABLES), True)}
        assert [mount["mountPath"] for mount in executor["pvcMount"]] == ["/store"]
    assert len(list(yaml.safe_load_all((GOLDEN / "vertex" / f"{name}.yaml").read_text()))) == 1
