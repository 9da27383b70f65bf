"""Both registries behind their one interface; Vertex AI's real client against a server on loopback."""

import json
import re
from pathlib import Path

import pytest

from components.evaluate.model_registry import open_registry
from components.evaluate.promotion import roll_back
from steam_recsys.errors import UserError
from steam_recsys.storage.model_store import champion
from tests.components.evaluate.test_promotion import promote_all
from tests.pipelines.api_server import Answer, Api, Request, serving

MODEL = "projects/p/locations/l/models/steam-recsys"
METRICS = {"ndcg_at_10": 0.25, "recall_at_20": 0.5}


class Registry:
    """As much of the Model Registry as the client asks of it."""

    def __init__(self) -> None:
        self.versions: list[dict] = []
        self.evaluations: dict[str, dict] = {}

    def answer(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        if path == f"{MODEL}:listVersions":
            return (200, {"models": self.versions}) if self.versions else (404, {"error": {"message": "no model"}})
        if path.endswith("/models:upload"):
            number = str(len(self.versions) + 1)
            model = request.body["model"]
            self.versions.append({"name": MODEL, "versionId": number, **model})
            kind = "type.googleapis.com/google.cloud.aiplatform.v1.UploadModelResponse"
            done = {"@type": kind, "model": MODEL, "modelVersionId": number}
            return 200, {"name": "projects/p/locations/l/operations/1", "done": True, "response": done}
        if path.endswith("/evaluations:import"):
            self.evaluations[_number(path)] = request.body["modelEvaluation"]
            return 200, {}
        if path.endswith("/evaluations"):
            found = self.evaluations.get(_number(path))
            return 200, {"modelEvaluations": [{"name": f"{path}/1", **found}] if found else []}
        if path.endswith(":mergeVersionAliases"):
            chosen = int(_number(path)) - 1
            for alias in request.body["versionAliases"]:
                self._merge(chosen, alias)
            return 200, self.versions[chosen]
        return 404, {"error": {"message": f"no {request.path}"}}

    def _merge(self, chosen: int, alias: str) -> None:
        for number, version in enumerate(self.versions):
            kept = [each for each in version["versionAliases"] if each != alias.removeprefix("-")]
            added = [alias] if number == chosen and not alias.startswith("-") else []
            if not alias.startswith("-") or number == chosen:
                version["versionAliases"] = kept + added


def _number(path: str) -> str:
    """The version's number in the path of a model's version."""
    return re.split("[/:]", path.split("@")[1])[0]


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def api(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    with serving(registry.answer) as api:
        monkeypatch.setenv("VERTEX_MODEL_ENDPOINT", api.url)
        yield api


def model(root: Path, version: str) -> Path:
    (root / version / "saved_model").mkdir(parents=True)
    (root / version / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    (root / version / "model.json").write_text(json.dumps({"version": version}))
    (root / version / "evaluation.json").write_text("{}")
    return root / version


@pytest.mark.parametrize("uri", ["", "vertex://p/l"])
def test_a_challenger_becomes_champion_in_the_store_whatever_the_registry(
    uri: str, api: Api, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, uri)
    for version, before in (("m1", None), ("m2", "m1")):
        for _ in range(2):  # both steps can be repeated
            folder = tmp_path / version
            models.add(folder if folder.exists() else model(tmp_path, version), folder / "evaluation.json", METRICS)
            assert models.make_champion(version, before, METRICS) == before
    assert champion(bucket_store).version == "m2"


def test_vertex_gets_each_model_once_with_its_evaluation_and_aliases(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, "vertex://p/l")
    for version, before in (("m1", None), ("m2", "m1")):
        models.add(model(tmp_path, version), tmp_path / version / "evaluation.json", METRICS)
        assert registry.versions[-1]["versionAliases"] == ["challenger"]
        models.make_champion(version, before, METRICS)
    assert [version["versionAliases"] for version in registry.versions] == [[], ["champion"]]
    assert [version["versionDescription"] for version in registry.versions] == ["m1", "m2"]
    assert registry.versions[1]["artifactUri"] == f"{bucket_store}/models/m2/saved_model"
    assert registry.evaluations["2"]["metrics"] == METRICS
    first, second = (request.body for request in api.asked("POST", "/models:upload"))
    assert (first.get("modelId"), second.get("parentModel")) == ("steam-recsys", MODEL)
    models.add(tmp_path / "m2", tmp_path / "m2" / "evaluation.json", METRICS)
    assert len(registry.versions) == 2


def test_a_registration_that_was_cut_short_is_completed_by_the_next(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, "vertex://p/l")
    folder = model(tmp_path, "m1")
    models.add(folder, folder / "evaluation.json", METRICS)
    registry.evaluations.clear()
    models.add(folder, folder / "evaluation.json", METRICS)
    assert registry.evaluations["1"]["metrics"] == METRICS
    assert len(registry.versions) == 1


def test_a_registry_learns_of_a_champion_from_before_it(
    tmp_path: Path, api: Api, registry: Registry, bucket_store: str
) -> None:
    promote_all(bucket_store, tmp_path, "one", "two")
    assert roll_back(bucket_store, registry="vertex://p/l") == "one"
    assert champion(bucket_store).version == "one"
    assert [(each["versionDescription"], each["versionAliases"]) for each in registry.versions] == [
        ("one", ["champion"])
    ]


def test_a_refusal_gets_one_sentence(api: Api, bucket_store: str, tmp_path: Path) -> None:
    api.failures["GET"] = [403]
    with pytest.raises(UserError, match=r"This account may not change Vertex AI's models: grant it Vertex AI User\."):
        open_registry(bucket_store, "vertex://p/l").add(model(tmp_path, "m1"), tmp_path / "m1/evaluation.json", METRICS)


@pytest.mark.parametrize(
    ("store", "registry_uri", "sentence"),
    [
        ("gs://b/store", "mlflow://x", "mlflow://x is no model registry: leave it out, or write vertex://PROJECT"),
        ("/store", "vertex://p/l", "Vertex AI cannot read models from /store: use a store in a bucket"),
    ],
)
def test_a_registry_or_a_store_that_cannot_be_is_refused(store: str, registry_uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_registry(store, registry_uri)
