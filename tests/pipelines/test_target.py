import pytest

from components.shared.errors import UserError
from pipelines import target as targets
from pipelines.target import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_settings_with_an_image_for_each_role(name):
    assert set(Target.load(name).images) == {"data", "model"}


def test_an_unknown_target_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="choose one of local, docker, kubeflow, vertex"):
        Target.load("moon")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ('color = "red"\n[images]\ndata = "a"\nmodel = "b"', "color"),
        ('[images]\ndata = "a"\nmodle = "b"', "images.modle"),
        ('parallelism = 0\n[images]\ndata = "a"\nmodel = "b"', "parallelism"),
        ('[images]\ndata = "a"\nmodel = "b"\n[retries]\ncount = "many"', "retries.count"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings, where, tmp_path, monkeypatch):
    (tmp_path / "local.toml").write_text(settings)
    monkeypatch.setattr(targets, "SETTINGS", tmp_path)
    with pytest.raises(UserError, match=f"wrong setting {where}"):
        Target.load("local")
