import pytest

import compile as command
from pipelines import check
from pipelines.check import check_no_secrets, check_parameters, graph, image_states, parameters_for
from pipelines.compilation import PIPELINES, compile_pipelines
from pipelines.target import Target
from steam_recsys.errors import UserError
from tests.pipelines.golden_copies import GOLDEN


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        ("local", ""),
        ("docker", "make sure that its images exist"),
        ("kubeflow", "make sure that its images exist"),
        (
            "vertex",
            "set STEAM_RECSYS_REGISTRY, STEAM_RECSYS_VERTEX__PROJECT, STEAM_RECSYS_VERTEX__REGION, "
            "STEAM_RECSYS_VERTEX__STAGING_BUCKET, STEAM_RECSYS_PARAMETERS__SOURCE, STEAM_RECSYS_PARAMETERS__STORE and "
            "make sure that its images exist",
        ),
    ],
)
def test_a_target_without_settings_is_valid_and_the_check_lists_what_a_run_needs(
    target, needed, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", "")  # no docker, so images are not checked
    command.main(["--target", target, "--output", str(tmp_path), "--check"])
    printed = capsys.readouterr().out.splitlines()[-1]
    if needed:
        assert printed == f"compile.py: the target {target} is valid; before a run, {needed}"
    else:
        assert printed == f"compile.py: the target {target} is ready"


def test_a_target_with_settings_and_images_is_ready(tmp_path, monkeypatch, capsys):
    for name in check.missing_settings(Target.load("vertex")):
        monkeypatch.setenv(name, "gs://x")
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_command_error", lambda *command: "")
    command.main(["--target", "vertex", "--output", str(tmp_path), "--check"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in printed if line.startswith("image ")] == ["is in its registry"] * 2
    assert printed[-1] == "compile.py: the target vertex is ready"


def test_an_unknown_parameter_or_a_wrong_type_is_refused(monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__STOER", "gs://bucket/store")
    with pytest.raises(
        UserError, match="No pipeline has the parameter stoer of the target vertex: the parameters are accuracy_margin"
    ):
        check_parameters(Target.load("vertex"))
    monkeypatch.delenv("STEAM_RECSYS_PARAMETERS__STOER")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SEED", "many")
    with pytest.raises(UserError, match="The parameter seed is 'many': it must be a whole number"):
        check_parameters(Target.load("vertex"))
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SEED", "7")  # environment variables are texts
    check_parameters(Target.load("vertex"))


def test_gate_thresholds_are_settings_and_checked(monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__ACCURACY_MARGIN", "0.1")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SLICE_USERS", "200")
    target = Target.load("kubeflow")
    check_parameters(target)
    assert parameters_for(target, "training")["slice_users"] == "200"
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SLICE_MARGIN", "most")
    with pytest.raises(UserError, match="The parameter slice_margin is 'most': it must be a finite number"):
        check_parameters(Target.load("kubeflow"))


def test_a_secret_of_the_environment_in_the_yaml_is_found(tmp_path, monkeypatch):
    compiled = compile_pipelines(Target.load("vertex"), tmp_path)
    check_no_secrets(compiled)
    monkeypatch.setenv("SHOP_PASSWORD", "hush-hush-hush")
    compiled[0].write_text(compiled[0].read_text() + "# hush-hush-hush")
    with pytest.raises(UserError, match=r"contains the value of SHOP_PASSWORD: name the secret instead") as refused:
        check_no_secrets(compiled)
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize("password", ["postgres", "password", "training"])
def test_an_ordinary_password_or_a_part_of_a_word_is_no_secret_in_the_yaml(password, tmp_path, monkeypatch):
    path = tmp_path / "training.yaml"
    path.write_text("publish_to: postgresql\nuser: postgres\nname: retraining\nkind: password")
    monkeypatch.setenv("POSTGRES_PASSWORD", password)
    check_no_secrets([path])


def test_a_url_with_a_password_in_the_yaml_is_found(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("source: postgresql://ann:hush@db/shop")
    with pytest.raises(UserError, match=r"training\.yaml contains a URL with a password"):
        check_no_secrets([path])


def test_a_missing_image_stops_the_check(monkeypatch, tmp_path):
    monkeypatch.setenv("STEAM_RECSYS_REGISTRY", "registry.example/shop")
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_command_error", lambda *command: "no such manifest: x")
    assert {state for _, state in image_states(Target.load("vertex"))} == {"is missing"}
    with pytest.raises(UserError, match="is not in its registry: run make push REGISTRY="):
        command.check(Target.load("vertex"), [])


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"manifest": ""}, "is in its registry"),
        ({"manifest": "denied: permission artifactregistry.repositories.get denied"}, "its registry denies access"),
        ({"manifest": "connection refused"}, "its registry does not answer"),
    ],
)
def test_an_image_is_looked_up_in_its_registry(answers, state, monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_REGISTRY", "registry.example/shop")
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_command_error", lambda docker, kind, *command: answers[kind])
    assert {found for _, found in image_states(Target.load("vertex"))} == {state}


@pytest.mark.parametrize(("error", "state"), [("", "is on this machine"), ("no such image", "is not on this machine")])
def test_an_image_without_a_registry_is_looked_up_on_this_machine(error, state, monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_command_error", lambda docker, kind, *command: {"image": error}[kind])
    assert {found for _, found in image_states(Target.load("vertex"))} == {state}


def test_a_graph_lists_tasks_in_order_with_their_dependencies():
    assert graph(GOLDEN / "vertex" / "inference.yaml") == [
        "inference",
        "  Recommend and publish",
        "    Extract a snapshot",
        "    Validate the snapshot (after Extract a snapshot)",
        "    Monitor the champion (after Extract a snapshot, Validate the snapshot)",
        "    Retrain if needed (after Extract a snapshot, Monitor the champion)",
        "      Retraining needed (if retrain is true)",
        "        Train and promote",
        "          Train the two towers",
        "          Evaluate the model (after Train the two towers)",
        "          Gate passed (after Evaluate the model, Train the two towers; if evaluate-Output is true)",
        "            Refit on all reviews",
        "            Promote the model (after Refit on all reviews)",
        "    Plan the shards (after Extract a snapshot, Retrain if needed)",
        "    Shards (after Plan the shards; for each item of a list)",
        "      Predict a shard",
        "    Publish the recommendations (after Shards, Plan the shards)",
        "  Record the outcome (after Recommend and publish; always)",
    ]


@pytest.mark.parametrize(
    ("target", "store", "reached"),
    [
        ("local", "local/store", True), ("docker", "x", False), ("vertex", "gs://b/s", True), ("vertex", "x", False),
        ("vertex", "/s", False), ("kubeflow", "/s", True), ("kubeflow", "gs://b/s", True), ("kubeflow", "s", False),
        ("kubeflow", "s3://b/s", True), ("local", "s3://b/s", True), ("docker", "s3://b/s", True),
        ("vertex", "s3://b/s", False), ("kubeflow", "s3:/b/s", False),
    ],
)  # fmt: skip
def test_a_local_store_is_refused_if_tasks_run_elsewhere(target, store, reached, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    values = {"store": store, "source": "sm://projects/p/secrets/s/versions/1"}
    if reached:
        check.check_run(Target.load(target), "training", values)
    else:
        with pytest.raises(UserError, match=f"on the target {target} cannot reach the store {store}: set STEAM_RECSYS"):
            check.check_run(Target.load(target), "training", values)


@pytest.mark.parametrize(
    ("target", "buckets"),
    [
        ("vertex", "gs://BUCKET/store"),
        ("kubeflow", "gs://BUCKET/store or s3://BUCKET/store"),
        ("docker", "gs://BUCKET/store or s3://BUCKET/store"),
    ],
)
def test_a_refused_store_names_the_buckets_that_the_target_reaches(target, buckets):
    values = {"store": "elsewhere", "source": "sm://projects/p/secrets/s/versions/1"}
    with pytest.raises(UserError, match=f"set STEAM_RECSYS_PARAMETERS__STORE to {buckets}, or add --param store="):
        check.check_run(Target.load(target), "training", values)


def test_without_a_store_the_pipelines_default_is_checked():
    with pytest.raises(UserError, match="on the target vertex cannot reach the store local/store"):
        check.check_run(Target.load("vertex"), "training", {"source": "sm://projects/p/secrets/s/versions/1"})


@pytest.mark.parametrize(
    ("target", "values", "sentence"),
    [
        ("kubeflow", {"users_per_shard": 0}, "The parameter users_per_shard is 0: it must be 1 or more"),
        ("kubeflow", {"new_release_days": 0}, "The parameter new_release_days is 0: it must be 1 or more"),
        ("local", {"accuracy_margin": 5.0}, "The parameter accuracy_margin is 5.0: it must be from 0 to 1"),
        ("local", {"coverage_floor": float("nan")}, "The parameter coverage_floor is nan: it must be from 0 to 1"),
        ("local", {"seed": -1}, "The parameter seed is -1: it must be from 0 to 4294967295"),
        ("local", {"training_minutes": -1.0}, "The parameter training_minutes is -1.0: it must be 0 or more"),
        ("kubeflow", {"control_share": 0.9}, "control_share is 0.9: give a number from 0 to 0.5"),
        ("kubeflow", {"publish_to": "oracle"}, "publish_to is 'oracle': it must be one of postgresql, mongodb, both"),
        ("local", {"publish_to": "mongodb"}, "The environment variable MONGODB_URL is not set: set it"),
        ("docker", {"publish_to": "both", "mongodb": "env:OTHER"}, "target docker have no environment variable OTHER"),
        ("docker", {"replica": "env:REPLICA_URL"}, "The environment variable REPLICA_URL is not set: set it"),
        (
            "kubeflow",
            {"replica": "env:OTHER"},
            "have no environment variable OTHER: .* one of DATABASE_URL, MONGODB_URL",
        ),
        ("local", {"source": "env:OTHER"}, "The environment variable OTHER is not set: set it"),
        (
            "vertex",
            {"store": "gs://b/s"},
            "Vertex AI have no environment variable DATABASE_URL: .* --param source=sm://",
        ),
        ("vertex", {"store": "gs://b/s", "source": "sm://x", "publish_to": "both"}, "no environment variable MONGODB"),
        ("vertex", {"store": "gs://b/s", "source": "sm://x", "alerts": "env:HOOK"}, "no environment variable HOOK"),
        ("local", {"alerts": "env:OTHER"}, "The environment variable OTHER is not set: set it"),
    ],
)
def test_invalid_values_are_refused_before_a_run_starts(target, values, sentence, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    monkeypatch.delenv("MONGODB_URL", raising=False)
    with pytest.raises(UserError, match=sentence):
        check.check_run(Target.load(target), "inference", {"store": "/store", **values})


@pytest.mark.parametrize("target", ["local", "docker", "kubeflow", "vertex"])
@pytest.mark.parametrize("key", ["source", "replica", "mongodb", "alerts"])
def test_a_url_instead_of_a_secrets_name_is_refused_and_not_repeated(target, key, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    values = {"store": "gs://b/s", "publish_to": "both", "source": "sm://x", "mongodb": "sm://x"}
    with pytest.raises(
        UserError, match=f"The parameter {key} does not name a secret: use env:NAME or sm://"
    ) as refused:
        check.check_run(Target.load(target), "inference", values | {key: "https://ann:hunter2@example.org/hook"})
    assert "hunter2" not in str(refused.value)


def test_without_mongodb_no_mongodb_url_is_needed(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    monkeypatch.delenv("MONGODB_URL", raising=False)
    for name in PIPELINES:
        check.check_run(Target.load("local"), name, {})


def test_every_range_is_of_a_parameter_whose_default_is_within_it():
    inputs = [check.build_pipeline(Target.load("local"), name).component_spec.inputs for name in PIPELINES]
    defaults = {key: spec.default for each in inputs for key, spec in each.items()}
    for name, (low, high) in check.RANGES.items():
        assert low <= defaults[name] <= high, name
