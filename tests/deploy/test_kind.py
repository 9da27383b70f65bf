"""The scripts behind `make kind-…`, with stub programs instead of Docker and a cluster."""

from __future__ import annotations

import fcntl
import http.server
import os
import re
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.deploy.kind_stubs import Kind, stubbed

ROOT = Path(__file__).parents[2]
KIND_YAML = yaml.safe_load((ROOT / "deploy" / "kubeflow" / "kind.yaml").read_text())


@pytest.fixture
def kind(tmp_path: Path) -> Iterator[Kind]:
    """The scripts with stubs; one test at a time, as the scripts open the same ports."""
    with (Path(tempfile.gettempdir()) / f"steam-recsys-kind-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kind = stubbed(tmp_path)
        yield kind
        kind.close()


@contextmanager
def another_server(first: int) -> Iterator[int]:
    """Listen on a port from `first` on, as a developer's own server does, and answer every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>mine</html>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for port in range(first, first + 20):
        try:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError:
            continue
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield port
        server.shutdown()
        server.server_close()
        return


# kind-up


def test_a_cluster_is_created_with_a_pinned_node_and_kubeflow_pipelines_is_installed(kind: Kind) -> None:
    kind.when("kind get clusters", status=0)
    done = kind.run("kind-up")
    assert done.returncode == 0, done.stderr
    assert kind.lines("kind create cluster --config deploy/kubeflow/kind.yaml")
    (node,) = KIND_YAML["nodes"]
    assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", node["image"])
    installed = kind.lines("apply --kustomize")
    assert len(installed) == 2
    assert all("?ref=2.16.1&timeout=300s" in line for line in installed)


def test_an_existing_cluster_and_its_secrets_are_kept(kind: Kind) -> None:
    assert kind.run("kind-up").returncode == 0
    assert not kind.lines("kind create")
    assert not kind.lines("create secret")


def test_all_calls_name_the_cluster_whatever_the_current_context_is(kind: Kind) -> None:
    for script in ("kind-up", "kind-demo"):
        assert kind.run(script).returncode == 0
    calls = [line for line in kind.lines("kubectl ") if "kubectl kustomize" not in line]
    assert len(calls) > 15
    assert all(line.startswith("kubectl --context kind-steam-recsys ") for line in calls)
    assert not kind.lines("use-context")


def test_secrets_are_generated_and_passed_on_standard_input(kind: Kind) -> None:
    kind.when("get secret", status=1)
    assert kind.run("kind-up").returncode == 0
    created = {call["line"].split()[8]: call["stdin"] for call in kind.calls if "create secret" in call["line"]}
    assert set(created) == {"steam-recsys", "steam-recsys-explorer"}
    settings = dict(line.split("=", 1) for text in created.values() for line in text.splitlines())
    passwords = [re.search(r":(\w{48})@", settings[name])[1] for name in ("DATABASE_URL", "EXPLORER_DATABASE_URL")]
    assert settings["POSTGRES_PASSWORD"] == passwords[0] != passwords[1]
    assert not [call for call in kind.calls if any(password in call["line"] for password in passwords)]


def test_every_image_is_loaded_before_the_pods_that_need_it_and_named_in_their_manifests(kind: Kind) -> None:
    assert kind.run("kind-up").returncode == 0
    lines = [call["line"] for call in kind.calls]
    loaded = [line.split()[-1] for line in lines if "load docker-image" in line]
    assert loaded == ["localhost/d:1", "localhost/m:2", "localhost/e:3"]
    (applied,) = [call for call in kind.calls if "apply --filename=-" in call["line"]]
    assert lines.index(applied["line"]) > max(index for index, line in enumerate(lines) if "load docker-image" in line)
    images = set(re.findall(r"image: (\S+)", applied["stdin"]))
    assert {"localhost/e:3"} <= images <= {"localhost/d:1", "localhost/e:3", "postgres"}
    assert lines.index(applied["line"]) > next(n for n, line in enumerate(lines) if "delete job" in line)


def test_kind_up_does_not_wait_for_the_explorer_which_needs_a_publication(kind: Kind) -> None:
    assert kind.run("kind-up").returncode == 0
    (waited,) = kind.lines("condition=Available")
    assert "--selector=app.kubernetes.io/part-of!=steam-recsys" in waited
    assert "--all" not in waited


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"prints": "2 16770000000\n"}, "Docker has 2 cores and 16 GB of memory, but 4 cores and 12 GB are required"),
        ({"prints": "8 8321000000\n"}, "Docker has 8 cores and 8 GB of memory, but 4 cores and 12 GB are required"),
        ({"status": 1, "prints": "0 0\n"}, r"Docker does not answer: start it\."),
        ({"status": 1}, r"Docker does not answer: start it\."),
    ],
)
def test_a_machine_that_is_too_small_is_refused_before_anything_is_created(
    answer: dict, sentence: str, kind: Kind
) -> None:
    kind.when("docker info", **{"status": 0, **answer})
    done = kind.run("kind-up")
    assert done.returncode == 1
    assert re.match(rf"kind-up: {sentence}", done.stderr)
    assert done.stderr.count("\n") == 1
    assert not kind.lines("kind ")


@pytest.mark.parametrize(
    ("program", "script"),
    [(name, "kind-up") for name in ("docker", "kind", "kubectl", "git")]
    + [(name, "kind-demo") for name in ("curl", "kind", "kubectl")],
)
def test_each_required_program_is_checked_first(program: str, script: str, kind: Kind) -> None:
    (kind.root / "bin" / program).unlink()
    done = kind.run(script)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{script}: {program} is not on the PATH: install .+\.\n", done.stderr)
    assert not kind.calls


def test_a_slow_clone_is_tried_three_times(kind: Kind) -> None:
    kind.when("apply --kustomize", status=1, times=2)
    assert kind.run("kind-up").returncode == 0
    assert len(kind.lines("apply --kustomize")) == 4
    kind.when("apply --kustomize", status=1, error="fetch timed out")
    done = kind.run("kind-up")
    assert done.returncode == 1
    assert done.stderr.count("fetch timed out") == 3


@pytest.mark.parametrize("script", ["kind-demo", "kind-open", "kind-check"])
def test_without_the_cluster_a_script_says_how_to_create_it(script: str, kind: Kind) -> None:
    kind.when("kind get clusters", prints="other-steam-recsys\n", status=0)
    done = kind.run(script)
    assert (done.returncode, done.stderr) == (
        1,
        f"{script}: the cluster steam-recsys does not exist: run make kind-up first.\n",
    )


# kind-open and kind-close


def test_ports_stay_open_after_the_script_until_they_are_closed(kind: Kind) -> None:
    done = kind.run("kind-open")
    assert done.returncode == 0, done.stderr
    port, explorer = kind.open_port("kubeflow"), kind.open_port("explorer")
    assert f"export STEAM_RECSYS_KUBEFLOW__HOST=http://127.0.0.1:{port}\n" in done.stdout
    assert f"[kind] the explorer: http://127.0.0.1:{explorer}\n" in done.stdout
    for address in re.findall(r"\[kind\] .*(http://\S+)", done.stdout):
        urlopen(address + ("/healthz" if address.endswith(str(explorer)) else "/apis/v2beta1/healthz")).close()
    assert kind.run("kind-close").returncode == 0
    with pytest.raises(URLError):
        urlopen(f"http://127.0.0.1:{port}/apis/v2beta1/healthz")
    assert not [path for path in (kind.root / "local" / "kind").iterdir() if path.suffix == ""]
    assert kind.run("kind-close").returncode == 0


def test_another_server_on_the_port_is_left_alone(kind: Kind) -> None:
    with another_server(8080) as taken:
        assert kind.run("kind-open").returncode == 0
        assert kind.open_port("kubeflow") > taken
    assert all(f"{taken}:80" not in line for line in kind.lines("port-forward"))


def test_an_open_port_is_used_again(kind: Kind) -> None:
    for _ in range(2):
        assert kind.run("kind-open").returncode == 0
    assert len(kind.lines("port-forward", "ml-pipeline-ui")) == 1


def test_a_port_whose_process_has_ended_is_opened_again(kind: Kind) -> None:
    assert kind.run("kind-open").returncode == 0
    process = int((kind.root / "local" / "kind" / "kubeflow").read_text().split()[0])
    os.kill(process, signal.SIGKILL)
    assert kind.run("kind-open").returncode == 0
    assert len(kind.lines("port-forward", "ml-pipeline-ui")) == 2


def test_a_process_that_got_the_number_of_an_ended_one_is_not_killed(kind: Kind) -> None:
    (kind.root / "local" / "kind").mkdir()
    (kind.root / "local" / "kind" / "kubeflow").write_text(f"{os.getpid()} 8080\n")
    for script in ("kind-close", "kind-down"):
        assert kind.run(script).returncode == 0


def test_a_port_that_is_taken_at_the_same_moment_gives_way_to_the_next(kind: Kind) -> None:
    kind.when("port-forward", status=1, error="unable to listen on any of the requested ports", times=1)
    assert kind.run("kind-open").returncode == 0
    first, second = (line.split()[-1].partition(":")[0] for line in kind.lines("port-forward", "ml-pipeline-ui"))
    assert int(second) > int(first)


def test_a_service_that_cannot_be_forwarded_is_reported_with_its_reason(kind: Kind) -> None:
    kind.when("port-forward", status=1, error="error: unable to forward port because pod is not running")
    done = kind.run("kind-open")
    assert done.returncode == 1
    assert done.stderr == (
        "kind-open: ml-pipeline-ui cannot be forwarded (error: unable to forward port because pod is not running): "
        "run make kind-up again.\n"
    )
    assert len(kind.lines("port-forward")) == 1


def test_before_the_first_publication_only_kubeflow_is_opened(kind: Kind) -> None:
    kind.when("rollout status deployment/steam-recsys-explorer", status=1)
    done = kind.run("kind-open")
    assert done.returncode == 0
    assert "[kind] the explorer is ready after the first publication: make kind-demo\n" in done.stdout
    assert not kind.lines("port-forward", "explorer")


def test_kind_down_closes_the_ports_and_deletes_the_cluster(kind: Kind) -> None:
    assert kind.run("kind-open").returncode == 0
    port = kind.open_port("kubeflow")
    assert kind.run("kind-down").returncode == 0
    assert kind.lines("kind delete cluster --name steam-recsys")
    with pytest.raises(URLError):
        urlopen(f"http://127.0.0.1:{port}/apis/v2beta1/healthz")


# kind-demo


def test_the_demo_runs_the_three_pipelines_on_the_api_that_it_opened_and_leaves_the_links_open(kind: Kind) -> None:
    done = kind.run("kind-demo")
    assert done.returncode == 0, done.stderr
    runs = [call for call in kind.calls if "compile.py" in call["line"]]
    assert [call["line"].partition("--submit ")[2] for call in runs] == [
        "ingestion --param raw=/store/raw --wait", "training --wait", "inference --wait",
    ]  # fmt: skip
    host = f"http://127.0.0.1:{kind.open_port('kubeflow')}"
    assert {call["host"] for call in runs} == {host}
    urlopen(f"{host}/apis/v2beta1/healthz").close()
    urlopen(f"http://127.0.0.1:{kind.open_port('explorer')}/healthz").close()
    assert f"[kind] the explorer: http://127.0.0.1:{kind.open_port('explorer')}\n" in done.stdout
    assert kind.lines("cp local/synthetic/games.csv steam-recsys-store:/store/raw/games.csv")


def test_a_failed_run_ends_the_demo(kind: Kind) -> None:
    kind.when("--submit training", status=1, error="compile.py: The run ended as FAILED")
    done = kind.run("kind-demo")
    assert done.returncode == 1
    assert "The run ended as FAILED" in done.stderr
    assert not kind.lines("--submit inference")


# kind-check


def checked(kind: Kind) -> Kind:
    """Let everything happen that kind-check looks for."""
    kind.when("raw=/store/nowhere", status=1)
    kind.when("SELECT state, error", prints="FAILED|ingest: /store/nowhere does not exist.\n", status=0)
    kind.when("--submit training", prints="compile.py: submitted, http://127.0.0.1:8080/#/runs/details/r-1\n", status=0)
    kind.when("status.phase=Failed", prints="pod/extract-1\n", status=0)
    kind.when("SELECT count", prints="2\n", status=0)
    kind.when("SELECT count", prints="1\n", status=0, times=2)
    return kind


def test_a_failed_run_a_retry_and_a_schedule_are_checked_and_cleaned_up(kind: Kind) -> None:
    done = checked(kind).run("kind-check")
    assert done.returncode == 0, done.stderr
    away, back, *_ = kind.lines("scale statefulset/steam-recsys-postgres")
    assert (away.split("=")[-1], back.split("=")[-1]) == ("0", "1")
    assert kind.lines("--selector=pipeline/runid=r-1")
    assert kind.lines("--schedule ingestion --cron */2 * * * *")
    assert "--unschedule ingestion" in kind.calls[-1]["line"]


@pytest.mark.parametrize(
    ("match", "answer", "sentence"),
    [
        ("raw=/store/nowhere", {"status": 0}, "ingestion of a folder that does not exist succeeded"),
        (
            "SELECT state, error",
            {"prints": "COMPLETE|\n", "status": 0},
            r"the record of the failed run is 'COMPLETE\|'",
        ),
        ("--submit training", {"prints": "/#/runs/details/r-1\nended as FAILED\n", "status": 1}, "was not retried"),
    ],
)
def test_what_does_not_happen_is_reported_and_the_cluster_is_restored(
    match: str, answer: dict, sentence: str, kind: Kind
) -> None:
    checked(kind).when(match, **answer)
    done = kind.run("kind-check")
    assert done.returncode == 1
    assert re.search(rf"^kind-check: .*{sentence}", done.stderr, re.MULTILINE)
    assert kind.lines("scale statefulset/steam-recsys-postgres --replicas=1")
    assert "--unschedule ingestion" in kind.calls[-1]["line"]


# The workflow


def test_the_workflow_runs_commands_of_the_page_within_limits_and_keeps_logs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "kubeflow.yaml").read_text())
    triggers = workflow[True]  # YAML reads `on` as a boolean
    assert set(triggers) == {"workflow_dispatch", "schedule", "pull_request", "push"}
    paths = triggers["pull_request"]["paths"]
    assert {"deploy/kubeflow/**", "pipelines/**"} <= set(paths)
    assert triggers["push"] == {"branches": ["main"], "paths": paths}
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] <= 120
    page = (ROOT / "docs" / "kubeflow.md").read_text()
    steps = [step for step in job["steps"] if "run" in step]
    made = [word for step in steps for word in re.findall(r"\bmake ([a-z-]+)", step["run"])]
    assert made == ["kind-up", "kind-demo", "kind-check", "kind-down"]
    for step in steps:
        for line in step["run"].splitlines():
            command = line.partition(" | ")[0]
            assert command in page or shlex.split(command)[0] in ("sudo", "mkdir", "df"), line
        if "make" in step["run"]:
            assert step["timeout-minutes"] < job["timeout-minutes"]
    assert sum(step.get("timeout-minutes", 0) for step in job["steps"]) <= job["timeout-minutes"]
    kept = next(step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "failure()"
    assert steps[-1]["if"] == "always()"
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in job["steps"] if "uses" in step)
