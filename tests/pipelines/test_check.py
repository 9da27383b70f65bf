import pytest

import compile as command
from components.shared.errors import UserError
from pipelines import check
from pipelines.catalogue import compile_pipelines
from pipelines.check import check_no_secrets, check_parameters, graph, image_states, parameters_for
from pipelines.target import TARGETS, Target
from tests.pipelines.golden_copies import GOLDEN


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_in_order_as_it_comes(target, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")  # no docker, so images are not looked for
    command.main(["--target", target, "--output", str(tmp_path), "--check"])
    assert f"compile.py: the target {target} is in order" in capsys.readouterr().out


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
        ("local", "local/store", True), ("docker", "", True), ("vertex", "gs://b/s", True), ("vertex", "", False),
        ("vertex", "/s", False), ("kubeflow", "/s", True), ("kubeflow", "gs://b/s", True), ("kubeflow", "s", False),
    ],
)  # fmt: skip
def test_a_store_of_this_machine_is_refused_where_the_tasks_run_elsewhere(target, store, reached):
    if reached:
        check.check_reachable(Target.load(target), {"store": store})
    else:
        with pytest.raises(
            UserError, match=f"of the target {target} cannot reach the store .*: set STEAM_RECSYS_PARAM"
        ):
            check.check_reachable(Target.load(target), {"store": store})


def test_what_a_run_on_vertex_ai_still_needs_is_named(monkeypatch):
    needed = check.unset(Target.load("vertex"))
    assert needed[0] == "STEAM_RECSYS_VERTEX__PROJECT"
    for name in needed:
        monkeypatch.setenv(name, "gs://x")
    assert check.unset(Target.load("vertex")) == []
    assert check.unset(Target.load("local")) == []
