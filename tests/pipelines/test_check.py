import pytest

import compile as command
from pipelines import check
from pipelines.catalogue import PIPELINES, compile_pipelines
from pipelines.check import check_no_secrets, check_parameters, graph, image_states, parameters_for
from pipelines.target import Target
from steam_recsys.errors import UserError
from tests.pipelines.golden_copies import GOLDEN


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        ("local", ""),
        ("docker", "see that its images are there"),
        ("kubeflow", "see that its images are there"),
        (
            "vertex",
            "set STEAM_RECSYS_REGISTRY, STEAM_RECSYS_VERTEX__PROJECT, STEAM_RECSYS_VERTEX__REGION, "
            "STEAM_RECSYS_VERTEX__STAGING_BUCKET, STEAM_RECSYS_PARAMETERS__SOURCE, STEAM_RECSYS_PARAMETERS__STORE and "
            "see that its images are there",
        ),
    ],
)
def test_nothing_is_wrong_with_a_target_as_it_comes_and_what_a_run_needs_beside_is_said(
    target, needed, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", "")  # no docker, so images are not looked for
    command.main(["--target", target, "--output", str(tmp_path), "--check"])
    said = capsys.readouterr().out.splitlines()[-1]
    if needed:
        assert said == f"compile.py: nothing is wrong with the target {target}; before a run, {needed}"
    else:
        assert said == f"compile.py: the target {target} is in order"


def test_a_target_with_settings_and_images_is_in_order(tmp_path, monkeypatch, capsys):
    for name in check.unset(Target.load("vertex")):
        monkeypatch.setenv(name, "gs://x")
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_asked", lambda *command: "")
    command.main(["--target", "vertex", "--output", str(tmp_path), "--check"])
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in said if line.startswith("image ")] == ["is in its registry"] * 2
    assert said[-1] == "compile.py: the target vertex is in order"


def test_a_parameter_of_no_pipeline_or_of_another_type_is_refused(monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__STOER", "gs://bucket/store")
    with pytest.raises(
        UserError, match="No pipeline has the parameter stoer of the target vertex: they have age_ceiling"
    ):
        check_parameters(Target.load("vertex"))
    monkeypatch.delenv("STEAM_RECSYS_PARAMETERS__STOER")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SEED", "many")
    with pytest.raises(UserError, match="The parameter seed is 'many': it must be a whole number"):
        check_parameters(Target.load("vertex"))
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SEED", "7")  # a variable is a text, whatever the parameter's type
    check_parameters(Target.load("vertex"))


def test_what_the_gate_asks_for_is_a_setting_of_each_target_and_checked(monkeypatch):
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__CHAMPION_ERRORS", "-1.5")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SLICE_USERS", "200")
    target = Target.load("kubeflow")
    check_parameters(target)
    assert parameters_for(target, "training")["slice_users"] == "200"
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SLICE_FLOOR", "most")
    with pytest.raises(UserError, match="The parameter slice_floor is 'most': it must be a number"):
        check_parameters(Target.load("kubeflow"))


def test_a_secret_of_the_environment_that_stands_in_the_yaml_is_found(tmp_path, monkeypatch):
    compiled = compile_pipelines(Target.load("vertex"), tmp_path)
    check_no_secrets(compiled)
    monkeypatch.setenv("SHOP_PASSWORD", "hush-hush-hush")
    compiled[0].write_text(compiled[0].read_text() + "# hush-hush-hush")
    with pytest.raises(UserError, match=r"The value of SHOP_PASSWORD stands in .*: name the secret there") as refused:
        check_no_secrets(compiled)
    assert "hush-hush" not in str(refused.value)


def test_a_url_with_a_password_in_the_yaml_is_found(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("source: postgresql://ann:hush@db/shop")
    with pytest.raises(UserError, match="A URL with a password stands in"):
        check_no_secrets([path])


def test_an_image_that_is_missing_stops_the_check(monkeypatch, tmp_path):
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_asked", lambda *command: "no such manifest: x")
    assert {state for _, state in image_states(Target.load("vertex"))} == {"is missing"}
    with pytest.raises(UserError, match="is not in its registry: run make push REGISTRY="):
        command.check(Target.load("vertex"), [])


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"image": ""}, "is on this machine"),
        ({"image": "no such image", "manifest": ""}, "is in its registry"),
        ({"image": "no such image", "manifest": "connection refused"}, "its registry does not say"),
    ],
)
def test_an_image_may_be_here_or_there_or_out_of_reach(answers, state, monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda name: "/usr/bin/docker")
    monkeypatch.setattr(check, "_asked", lambda docker, kind, *command: answers[kind])
    assert {found for _, found in image_states(Target.load("vertex"))} == {state}


def test_a_graph_names_tasks_in_order_with_what_they_wait_for():
    assert graph(GOLDEN / "vertex" / "inference.yaml") == [
        "inference",
        "  Recommend and publish",
        "    Extract a snapshot",
        "    Validate it (after Extract a snapshot)",
        "    See how the champion does (after Extract a snapshot, Validate it)",
        "    Train again if the model must be (after Extract a snapshot, See how the champion does)",
        "      Must be trained again (if retrain is true)",
        "        Train and promote",
        "          Train the two towers",
        "          Evaluate (after Train the two towers)",
        "          Better (after Evaluate, Train the two towers; if evaluate-Output is true)",
        "            Fit it to all reviews",
        "            Promote (after Fit it to all reviews)",
        "    Plan the shards (after Extract a snapshot, Train again if the model must be)",
        "    Shards (after Plan the shards; for each of a list)",
        "      Predict a shard",
        "    Publish (after Shards, Plan the shards)",
        "  Record the outcome (after Recommend and publish; whatever happens)",
    ]


@pytest.mark.parametrize(
    ("target", "store", "reached"),
    [
        ("local", "local/store", True), ("docker", "x", True), ("vertex", "gs://b/s", True), ("vertex", "x", False),
        ("vertex", "/s", False), ("kubeflow", "/s", True), ("kubeflow", "gs://b/s", True), ("kubeflow", "s", False),
    ],
)  # fmt: skip
def test_a_store_of_this_machine_is_refused_where_the_tasks_run_elsewhere(target, store, reached, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    values = {"store": store, "source": "sm://projects/p/secrets/s/versions/1"}
    if reached:
        check.check_run(Target.load(target), "training", values)
    else:
        with pytest.raises(UserError, match=f"of the target {target} cannot reach the store {store}: set STEAM_RECSYS"):
            check.check_run(Target.load(target), "training", values)


def test_without_a_store_the_pipelines_own_is_looked_at():
    with pytest.raises(UserError, match="of the target vertex cannot reach the store local/store"):
        check.check_run(Target.load("vertex"), "training", {"source": "sm://projects/p/secrets/s/versions/1"})


@pytest.mark.parametrize(
    ("target", "values", "sentence"),
    [
        ("kubeflow", {"users_per_shard": 0}, "The parameter users_per_shard is 0: it must be 1 or more"),
        ("kubeflow", {"publish_to": "oracle"}, "publish_to is 'oracle': it must be one of postgresql, mongodb, both"),
        ("local", {"publish_to": "mongodb"}, "The environment variable MONGODB_URL is not set: set it"),
        ("docker", {"publish_to": "both", "mongodb": "env:OTHER"}, "The environment variable OTHER is not set: set it"),
        ("local", {"source": "env:OTHER"}, "The environment variable OTHER is not set: set it"),
        ("vertex", {"store": "gs://b/s"}, "vertex have no environment variable DATABASE_URL: .* --param source=sm://"),
        ("vertex", {"store": "gs://b/s", "source": "sm://x", "publish_to": "both"}, "no environment variable MONGODB"),
        ("vertex", {"store": "gs://b/s", "source": "sm://x", "alerts": "env:HOOK"}, "no environment variable HOOK"),
        ("local", {"alerts": "env:OTHER"}, "The environment variable OTHER is not set: set it"),
    ],
)
def test_what_a_run_would_stop_at_after_hours_is_refused_before_it_starts(target, values, sentence, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    monkeypatch.delenv("MONGODB_URL", raising=False)
    with pytest.raises(UserError, match=sentence):
        check.check_run(Target.load(target), "inference", {"store": "/store", **values})


@pytest.mark.parametrize("target", ["local", "docker", "kubeflow", "vertex"])
@pytest.mark.parametrize("key", ["source", "replica", "mongodb", "alerts"])
def test_a_url_in_place_of_a_secrets_name_is_refused_and_not_repeated(target, key, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    values = {"store": "gs://b/s", "publish_to": "both", "source": "sm://x", "mongodb": "sm://x"}
    with pytest.raises(UserError, match=f"The parameter {key} names no secret: give env:NAME or sm://") as refused:
        check.check_run(Target.load(target), "inference", values | {key: "https://ann:hunter2@example.org/hook"})
    assert "hunter2" not in str(refused.value)


def test_what_is_not_published_to_mongodb_needs_no_url_of_it(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/shop")
    monkeypatch.delenv("MONGODB_URL", raising=False)
    for name in PIPELINES:
        check.check_run(Target.load("local"), name, {})
