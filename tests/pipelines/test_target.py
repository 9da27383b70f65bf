import pytest
import yaml

from containers.images import content_tag
from pipelines import target as targets
from pipelines.compilation import PIPELINES, compile_pipelines
from pipelines.target import Target, TaskSettings
from steam_recsys.errors import UserError
from steam_recsys.logging import FORMAT_VARIABLE
from steam_recsys.retention import Retention
from tests.pipelines.golden_copies import GOLDEN


@pytest.mark.parametrize("name", ["docker", "kubeflow", "vertex"])
def test_images_are_named_by_their_content(name):
    target = Target.load(name)
    assert {target.image(role) for role in ("data", "model")} == {
        f"{target.registry}/{role}:{content_tag(role)}" for role in ("data", "model")
    }


def test_a_tasks_settings_override_the_default_ones():
    target = Target.load("vertex")
    train, extract = target.task_settings("train"), target.task_settings("extract")
    assert (train.memory, extract.memory) == ("32G", "8G")
    assert train.retries == extract.retries == 2
    assert target.task_settings("ingest").retries == 0


def test_the_environment_overrides_the_file(monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_REGISTRY", "europe-docker.pkg.dev/p/r")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__PROJECT", "my-project")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__STORE", "gs://bucket/store")
    target = Target.load("vertex")
    assert target.registry == "europe-docker.pkg.dev/p/r"
    assert (target.vertex.project, target.vertex.failure_policy) == ("my-project", "fast")
    assert target.parameters == {"store": "gs://bucket/store"}


@pytest.mark.parametrize("name", ["kubeflow", "local", "vertex"])
def test_every_task_gets_the_log_format(name, tmp_path, monkeypatch):
    for log_format, expected in (("text", None), ("json", "json")):
        monkeypatch.setenv("STEAM_RECSYS_LOG_FORMAT", log_format)
        for path in compile_pipelines(Target.load(name), tmp_path):
            executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"].values()
            set_on = [each["container"].get("env", []) for each in executors]
            found = [{pair["name"]: pair["value"] for pair in pairs}.get(FORMAT_VARIABLE) for pairs in set_on]
            assert found == [expected] * len(found)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("STEAM_RECSYS_REGISTERY", "There is no setting for STEAM_RECSYS_REGISTERY: the settings are name, registry"),
        ("STEAM_RECSYS_VERTEX__PROJCT", "wrong setting vertex.projct"),
        ("STEAM_RECSYS_VERTEX__LABELS", 'cannot be read .*"vertex".*: write a table as JSON, or one variable per key'),
    ],
)
def test_an_unknown_variable_is_refused(variable, sentence, monkeypatch):
    monkeypatch.setenv(variable, "x")
    with pytest.raises(UserError, match=sentence):
        Target.load("vertex")


def test_an_unknown_target_lists_the_existing_ones():
    with pytest.raises(UserError, match="choose one of local, docker, kubeflow, vertex"):
        Target.load("moon")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ('color = "red"', "color"),
        ("parallelism = 0", "parallelism"),
        ('[tasks.train]\nmemroy = "8G"', "tasks.train.memroy"),
        ('[tasks.trian]\nmemory = "8G"', "tasks.trian"),
        ('[tasks.default]\nretries = "many"', "tasks.default.retries"),
        ('[vertex]\nstaging_bucket = "bucket"', "vertex.staging_bucket"),
        ("[retention]\njournals = 9", "retention.journals"),
        ("[retention]\njournal_days = 1", r"retention \(.*journal_days is 1, but at least 2 days must be kept"),
        ('[retention]\nmodel_days = "many"', "retention.model_days"),
    ],
)
def test_a_wrong_setting_is_named(settings, where, tmp_path, monkeypatch):
    (tmp_path / "local.toml").write_text(settings)
    monkeypatch.setattr(targets, "SETTINGS", tmp_path)
    with pytest.raises(UserError, match=f"wrong setting {where}"):
        Target.load("local")


@pytest.mark.parametrize("name", ["kubeflow", "local", "vertex"])
def test_the_task_that_records_a_run_gets_the_retention(name, tmp_path, monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_RETENTION__JOURNAL_DAYS", "30")
    monkeypatch.setenv("STEAM_RECSYS_RETENTION__LOCAL_DAYS", "7")
    target = Target.load(name)
    assert target.retention == Retention(journal_days=30, local_days=7)
    for path in compile_pipelines(target, tmp_path):
        tasks = next(yaml.safe_load_all(path.read_text()))["root"]["dag"]["tasks"]
        given = tasks["record-run"]["inputs"]["parameters"]
        days = {key: value["runtimeValue"]["constant"] for key, value in given.items() if key.endswith("_days")}
        assert days == {
            "journal_days": 30.0,
            "prediction_days": 2.0,
            "model_days": 90.0,
            "record_days": 400.0,
            "event_days": 90.0,
        }


def test_targets_are_equal_if_the_same_settings_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_TASKS__DEFAULT__RETRIES", "2")
    plain = Target.load("local")
    assert (Target.load("local"), hash(Target.load("local"))) == (plain, hash(plain))
    monkeypatch.setenv("STEAM_RECSYS_TASKS__PREDICT__RETRIES", "0")  # what it is without the default of all tasks
    assert Target.load("local") != plain


def test_network_and_attachment_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__NETWORK", "projects/1/global/networks/shop")
    monkeypatch.setenv("STEAM_RECSYS_VERTEX__NETWORK_ATTACHMENT", "projects/p/regions/r/networkAttachments/tasks")
    with pytest.raises(UserError, match=r"wrong setting vertex \(.*network and network_attachment exclude each other"):
        Target.load("vertex")


def test_on_kubeflow_the_deadline_of_a_tasks_attempts_leaves_time_for_all_of_them():
    # Argo counts it from the first attempt's start; with the default of an hour a long task is never tried again.
    tasks = [
        task
        for name in PIPELINES
        for component in next(yaml.safe_load_all((GOLDEN / "kubeflow" / f"{name}.yaml").read_text()))[
            "components"
        ].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "retryPolicy" in task
    ]
    deadlines = {}
    for task in tasks:
        settings = Target.load("kubeflow").task_settings(task["componentRef"]["name"].removeprefix("comp-"))
        attempts = task["retryPolicy"]["maxRetryCount"] + 1
        deadlines[task["componentRef"]["name"]] = seconds = int(
            task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")
        )
        assert seconds > attempts * settings.timeout_minutes * 60
    assert deadlines["comp-train"] == 3 * (240 + 10) * 60 + 30 + 60
    assert deadlines["comp-predict"] == 3 * (60 + 10) * 60 + 30 + 60


def test_a_task_without_a_time_limit_may_take_a_day_per_attempt():
    assert TaskSettings(retries=1, backoff="10s").longest_seconds == 2 * 86_400 + 10
