import pytest

import compile as command
from components.shared.errors import UserError
from pipelines.catalogue import PIPELINES
from pipelines.parameters import read_parameters
from pipelines.target import Target


def refused(*arguments: str) -> str:
    """The sentence with which the command line is refused."""
    with pytest.raises(SystemExit) as ended:
        command.main(list(arguments))
    assert isinstance(ended.value.code, str)
    return ended.value.code


def test_it_writes_the_three_pipelines(tmp_path, capsys):
    command.main(["--target", "vertex", "--output", str(tmp_path / "build")])
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == [
        "inference.yaml",
        "ingestion.yaml",
        "training.yaml",
    ]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "build").write_text("")
    sentence = refused("--target", "local", "--output", str(tmp_path / "build"))
    assert sentence == f"compile.py: {tmp_path / 'build'} cannot be written to (File exists): name another folder."


def test_an_unknown_pipeline_is_refused_with_those_there_are():
    sentence = refused("--target", "local", "--submit", "cooking")
    assert sentence == "compile.py: There is no pipeline cooking: choose one of ingestion, training, inference."


def test_an_unknown_parameter_is_refused_with_those_there_are():
    sentence = refused("--target", "local", "--submit", "training", "--param", "sed=1")
    assert sentence == (
        "compile.py: The pipeline training has no parameter sed: it takes source (String), store (String), "
        "seed (Integer)."
    )


def test_a_value_of_another_type_is_refused_before_anything_runs():
    sentence = refused("--target", "local", "--submit", "training", "--param", "seed=lots")
    assert sentence == "compile.py: The parameter seed is 'lots': it must be a whole number."


def test_a_parameter_without_a_value_twice_or_missing_is_refused():
    assert "write it as --param key=value" in refused("--target", "local", "--submit", "training", "--param", "seed")
    twice = ["--param", "seed=1", "--param", "seed=2"]
    assert "is given twice" in refused("--target", "local", "--submit", "training", *twice)
    assert "needs the parameter raw" in refused("--target", "local", "--submit", "ingestion")


def test_parameters_go_with_a_submission():
    assert "--param goes with --submit" in refused("--target", "local", "--param", "seed=1")


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_the_other_targets_say_that_they_cannot_be_submitted_to_yet(target):
    sentence = refused("--target", target, "--submit", "training")
    assert sentence == f"compile.py: The target {target} cannot be submitted to yet: use --target local or docker."


def test_values_get_the_types_that_the_pipeline_declares():
    pipeline = PIPELINES["ingestion"](Target.load("local"))
    values = read_parameters(pipeline, ["raw=a=b", "year=2011", "max_rejected_share=0.5"])
    assert values == {"raw": "a=b", "year": 2011, "max_rejected_share": 0.5}
    with pytest.raises(UserError, match="must be a number"):
        read_parameters(pipeline, ["raw=x", "max_rejected_share=half"])
