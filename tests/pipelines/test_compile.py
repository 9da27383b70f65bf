import pytest

import compile as command
from pipelines.compilation import build_pipeline, read_parameters
from pipelines.platform import SubmittedRun
from pipelines.target import Target
from steam_recsys.errors import UserError


def refused(*arguments: str) -> str:
    """Return the message with which the command line is refused."""
    with pytest.raises(SystemExit) as ended:
        command.main(list(arguments))
    assert isinstance(ended.value.code, str)
    return ended.value.code


def test_it_writes_all_pipelines(tmp_path, capsys):
    command.main(["--target", "vertex", "--output", str(tmp_path / "build")])
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == [
        "inference.yaml",
        "ingestion.yaml",
        "refresh.yaml",
        "training.yaml",
    ]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "build").write_text("")
    sentence = refused("--target", "local", "--output", str(tmp_path / "build"))
    assert sentence == f"compile.py: {tmp_path / 'build'} cannot be written to (File exists): name another folder."


def test_an_unknown_pipeline_lists_the_existing_ones():
    sentence = refused("--target", "local", "--submit", "cooking")
    assert (
        sentence == "compile.py: There is no pipeline cooking: choose one of ingestion, training, inference, refresh."
    )


def test_an_unknown_parameter_lists_the_existing_ones():
    sentence = refused("--target", "local", "--submit", "training", "--param", "sed=1")
    assert sentence == (
        "compile.py: The pipeline training has no parameter sed: it takes source (String), replica (String), "
        "store (String), registry (String), seed (Integer), personal_budget (Float), "
        "training_minutes (Float), accuracy_margin (Float), champion_gain (Float), personal_margin (Float), "
        "coverage_floor (Float), slice_margin (Float), slice_users (Integer), alerts (String)."
    )


def test_a_value_of_the_wrong_type_is_refused_before_anything_runs():
    sentence = refused("--target", "local", "--submit", "training", "--param", "seed=lots")
    assert sentence == "compile.py: The parameter seed is 'lots': it must be a whole number."


def test_a_parameter_without_value_given_twice_or_missing_is_refused():
    assert "write it as --param key=value" in refused("--target", "local", "--submit", "training", "--param", "seed")
    twice = ["--param", "seed=1", "--param", "seed=2"]
    assert "is given twice" in refused("--target", "local", "--submit", "training", *twice)
    assert "needs the parameter raw" in refused("--target", "local", "--submit", "ingestion")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--param", "seed=1"], "--param needs --submit or --schedule"),
        (["--wait"], "--wait needs --submit"),
        (["--cron", "0 3 * * 1"], "--cron needs --schedule"),
        (["--schedule", "training"], "The target local has no schedules: use --target vertex or kubeflow."),
        (["--unschedule", "training"], "The target local has no schedules"),
        (["--schedule", "cooking"], "There is no pipeline cooking"),
    ],
)
def test_incompatible_options_are_refused(arguments, sentence):
    assert sentence in refused("--target", "local", *arguments)


def test_a_cron_expression_must_have_five_fields():
    sentence = refused("--target", "vertex", "--schedule", "training", "--cron", "0 0 3 * * 1")
    assert "it must have five fields, such as 0 3 * * 1" in sentence


def test_a_pipeline_without_a_default_schedule_needs_cron():
    sentence = refused("--target", "vertex", "--schedule", "ingestion", "--param", "raw=gs://bucket/raw")
    assert sentence == "compile.py: The target vertex has no schedule for ingestion: add --cron."


SOURCE = "sm://projects/P/secrets/S/versions/latest"


class Recorder:
    """A platform that records its calls."""

    def __init__(self, state="SUCCEEDED"):
        self.calls = []
        self.state = state

    def submit(self, pipeline, parameters):
        self.calls.append(("submit", pipeline.name, parameters))
        return SubmittedRun("https://example.org/run", lambda: self.state)

    def schedule(self, pipeline, parameters, cron):
        self.calls.append(("schedule", pipeline.name, parameters, cron))
        return "https://example.org/schedule"

    def unschedule(self, name):
        self.calls.append(("unschedule", name))
        return 1


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(command, "platform_of", lambda target: recorder)
    return recorder


def test_the_command_line_overrides_parameters_of_the_settings(recorder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__STORE", "gs://bucket/store")
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__SOURCE", SOURCE)
    output = ["--output", str(tmp_path)]
    command.main(["--target", "vertex", *output, "--submit", "training", "--param", "seed=3"])
    command.main(["--target", "vertex", *output, "--schedule", "training", "--param", "store=gs://other/store"])
    command.main(["--target", "vertex", "--unschedule", "training"])
    assert recorder.calls == [
        ("submit", "training.yaml", {"source": SOURCE, "store": "gs://bucket/store", "seed": 3}),
        ("schedule", "training.yaml", {"source": SOURCE, "store": "gs://other/store"}, "0 3 * * 1"),
        ("unschedule", "training"),
    ]
    assert "submitted, https://example.org/run" in capsys.readouterr().out


def test_with_wait_the_run_decides_the_exit_code(recorder, tmp_path, capsys):
    arguments = ["--target", "kubeflow", "--output", str(tmp_path), "--submit", "training", "--wait"]
    command.main(arguments)
    assert "the run succeeded" in capsys.readouterr().out
    recorder.state = "FAILED"
    assert refused(*arguments) == "compile.py: The run ended as FAILED: see https://example.org/run."


def test_values_are_converted_to_declared_types():
    pipeline = build_pipeline(Target.load("local"), "ingestion")
    values = read_parameters(pipeline, ["raw=a=b", "year=2011", "max_rejected_share=0.5"])
    assert values == {"raw": "a=b", "year": 2011, "max_rejected_share": 0.5}
    with pytest.raises(UserError, match="must be a finite number"):
        read_parameters(pipeline, ["raw=x", "max_rejected_share=half"])
