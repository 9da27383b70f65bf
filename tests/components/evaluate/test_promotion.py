import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.evaluate import promotion
from components.evaluate.gate import Thresholds, decide
from components.evaluate.promotion import open_registry, promote, roll_back
from components.evaluate.results import Evaluation
from steam_recsys.errors import UserError
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import EVALUATION, PROMOTED, champion, current_champion, stored_model
from tests.components.evaluate.test_evaluation import day, write_model
from tests.damage import damaged_contents
from tests.pipelines.api_server import Answer, Api, Request, serving


def evaluation(*, version: str = "new", promoted: bool = True, compared_with: str | None = None) -> Evaluation:
    figures = {"challenger": {"ndcg_at_10": np.full(20, 0.3 if promoted else 0.1)}}
    overall = Comparison.from_figures({**figures, "popularity": {"ndcg_at_10": np.full(20, 0.2)}})
    personal = {"coverage_at_10": 0.5, "jaccard_at_10": 0.5, "popular_ten": 0.5}
    beyond = {"challenger": personal, "popularity": personal}
    return Evaluation(
        version=version,
        champion=compared_with,
        snapshot_id="snapshot",
        cutoff="2020-01-11",
        left_out=0,
        overall=overall,
        beyond_accuracy=beyond,
        slices=(),
        settings={},
        thresholds=Thresholds(),
        verdict=decide(overall, beyond, {}, Thresholds()),
    )


def write_evaluation(folder: Path, *, version: str = "new", promoted: bool = True, compared_with: str | None = None):
    user = {"ranking": ["challenger"], "user_id": [1], "history": [1], "held_out": [1], "ndcg_at_10": [0.3]}
    evaluation(version=version, promoted=promoted, compared_with=compared_with).write(folder, pa.table(user))


def test_a_model_that_failed_the_gate_is_not_promoted(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    write_evaluation(tmp_path / "evaluation", promoted=False)
    with pytest.raises(UserError, match="did not pass the gate and was not added to"):
        promote(store, model, tmp_path / "evaluation")
    assert current_champion(store) is None


def test_a_promotion_can_be_repeated(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    write_evaluation(tmp_path / "evaluation")
    assert [promote(store, model, tmp_path / "evaluation") for _ in range(2)] == ["new", "new"]
    assert champion(store).version == "new"


def test_the_previous_champion_is_logged_unless_the_model_is_the_champion_already(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = []
    models = {name: write_model(tmp_path / name, cutoff=day(10), version=name) for name in ("one", "new")}
    for version, before in (("one", None), ("new", "one"), ("new", "new")):
        write_evaluation(tmp_path / "evaluation", version=version, compared_with=before)
        promote(store, models[version], tmp_path / "evaluation")
        output.append(capsys.readouterr().out.splitlines()[-1])
    assert output == [
        "[promote] champion one, previously none",
        "[promote] champion new, previously one",
        "[promote] champion new, unchanged",
    ]


def test_a_champion_keeps_its_evaluation(tmp_path: Path, store: str) -> None:
    write_evaluation(tmp_path / "evaluation")
    promote(store, write_model(tmp_path / "model", cutoff=day(10)), tmp_path / "evaluation")
    with stored_model(store, "new") as folder:
        assert Evaluation.read(folder / EVALUATION) == evaluation()


def test_an_evaluation_of_another_model_does_not_promote(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    write_evaluation(tmp_path / "evaluation", version="other")
    with pytest.raises(UserError, match="is about model other, not new"):
        promote(store, model, tmp_path / "evaluation")


def test_the_second_promotion_over_the_same_champion_is_rejected(tmp_path: Path, store: str) -> None:
    for version in ("first", "second"):
        write_model(tmp_path / version, cutoff=day(10), version=version)
        write_evaluation(tmp_path / f"{version} evaluation", version=version)
    promote(store, tmp_path / "first", tmp_path / "first evaluation")
    with pytest.raises(UserError, match="another run promoted at the same time"):
        promote(store, tmp_path / "second", tmp_path / "second evaluation")
    assert champion(store).version == "first"


def promote_all(store: str, root: Path, *versions: str) -> None:
    """Promote models, each of which beat the previous one."""
    before = None
    for version in versions:
        write_model(root / version, cutoff=day(10), version=version)
        write_evaluation(root / f"{version} evaluation", version=version, compared_with=before)
        promote(store, root / version, root / f"{version} evaluation")
        before = version


def test_no_damaged_model_or_evaluation_is_promoted_or_rolled_back_to(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two")
    write_evaluation(tmp_path / "three evaluation", version="three", compared_with="two")
    write_model(tmp_path / "three", cutoff=day(10), version="three")
    files = [*(tmp_path / "three").iterdir(), *(tmp_path / "three evaluation").iterdir()]
    stored = Path(store) / "models" / "one"
    uses = [(path, lambda: promote(store, tmp_path / "three", tmp_path / "three evaluation")) for path in files]
    uses += [(path, lambda: roll_back(store)) for path in stored.iterdir() if path.name != PROMOTED]
    assert len(uses) == 4 + 3 + 6
    for path, use in uses:
        whole = path.read_bytes()
        for _, content in damaged_contents(whole):
            path.write_bytes(content)
            with pytest.raises(UserError, match=rf"^{path} (is|has) .*: (train|it is)"):
                use()
            assert champion(store).version == "two"
        path.write_bytes(whole)
    assert roll_back(store) == "one"


def test_a_rollback_from_a_model_whose_evaluation_is_damaged_needs_a_version(tmp_path: Path, any_store: str) -> None:
    promote_all(any_store, tmp_path, "one", "two")
    open_folder(any_store).write(f"models/two/{EVALUATION}", b"{}")
    with pytest.raises(
        UserError, match=rf"The evaluation of two in {any_store} cannot be read, .* name a model with --"
    ):
        roll_back(any_store)
    assert roll_back(any_store, "one") == "one"


def test_promoting_again_replaces_a_damaged_model_in_the_store(
    tmp_path: Path, any_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promote_all(any_store, tmp_path, "one")
    folder = open_folder(f"{any_store}/models/one")
    whole = {name: folder.read(name) for name in folder.names("")}
    folder.write("arrays.npz", b"PK")
    write_evaluation(tmp_path / "again.json", version="one", compared_with="one")
    promote(any_store, tmp_path / "one", tmp_path / "again.json")
    assert f"[promote] {folder.uri}/arrays.npz is damaged" in capsys.readouterr().out
    assert folder.read("arrays.npz") == whole["arrays.npz"]
    with stored_model(any_store, "one") as model:
        TwoTowerArrays.load(model)


def command(*arguments: str) -> tuple[int, str]:
    run = [sys.executable, "-m", "commands", "models", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_each_rollback_goes_one_champion_back_until_none_is_left(tmp_path: Path, any_store: str) -> None:
    promote_all(any_store, tmp_path, "one", "two", "three")
    assert roll_back(any_store) == "two"
    assert (champion(any_store).version, champion(any_store).previous) == ("two", "three")
    assert champion(any_store).metrics["ndcg_at_10"] == 0.3
    assert roll_back(any_store) == "one"
    with pytest.raises(UserError, match=r"There is no champion before one in .*: name a model with --version"):
        roll_back(any_store)
    assert roll_back(any_store, "three") == "three"


def test_a_rollback_after_a_rollback_and_a_promotion_returns_to_the_model_that_was_beaten(
    tmp_path: Path, store: str
) -> None:
    promote_all(store, tmp_path, "one", "two")
    roll_back(store)
    write_model(tmp_path / "three", cutoff=day(10), version="three")
    write_evaluation(tmp_path / "three evaluation", version="three", compared_with="one")
    promote(store, tmp_path / "three", tmp_path / "three evaluation")
    assert roll_back(store) == "one"


def test_a_rollback_of_a_replaced_champion_changes_nothing(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two", "three")
    assert command("rollback", "--store", store, "--expected", "three") == (0, "two is the champion.\n")
    sentence = f"recsys: The champion of the model store {store} is two, not three: nothing was changed.\n"
    assert command("rollback", "--store", store, "--expected", "three") == (1, sentence)
    assert champion(store).version == "two"


def test_several_rollbacks_at_once_go_back_by_one(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two", "three", "four")
    with ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(roll_back, store, expected="four") for _ in range(4)]
    refused = [each.exception() for each in tries if each.exception()]
    assert all(re.search(r"is three, not four: nothing was changed\.", str(error)) for error in refused)
    assert len(refused) < 4
    assert champion(store).version == "three"


def test_a_rollback_without_a_target_is_reported(tmp_path: Path, store: str) -> None:
    assert command("champion", "--store", store)[1].startswith(f"recsys: The model store {store} has no ch")
    promote_all(store, tmp_path, "one")
    with pytest.raises(UserError, match=r"There is no champion before one in .*: name a model with --version"):
        roll_back(store)
    code, output = command("rollback", "--store", store, "--version", "other")
    assert (code, output) == (1, f"recsys: The model store {store} has no model other: promote it again.\n")


def test_the_command_shows_the_champion_and_rolls_back(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two")
    assert command("rollback", "--store", store) == (0, "one is the champion.\n")
    code, output = command("champion", "--store", store)
    assert code == 0
    assert output.startswith("one has been the champion since ")
    assert output.endswith(". The previous one was two.\n")


# The registries behind their interface: Vertex AI's real client against a server on loopback.

MODEL = "projects/p/locations/l/models/steam-recsys"
METRICS = {"ndcg_at_10": 0.25, "recall_at_20": 0.5}
IMAGE = "europe-west1-docker.pkg.dev/p/steam-recsys/explorer:abc"


class Registry:
    """The part of the Model Registry that the client uses."""

    def __init__(self) -> None:
        self.versions: list[dict] = []
        self.evaluations: dict[str, dict] = {}
        self.accepts_metrics = True

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
        if path.endswith("/evaluations:import") and not self.accepts_metrics:
            return 400, {"error": {"message": "Invalid Metrics Format", "status": "INVALID_ARGUMENT"}}
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
    """Return the version number from the path of a model version."""
    return re.split("[/:]", path.split("@")[1])[0]


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def api(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    with serving(registry.answer) as api:
        monkeypatch.setenv("VERTEX_MODEL_ENDPOINT", api.url)
        yield api


def registered_model(root: Path, version: str) -> Path:
    (root / version / "saved_model").mkdir(parents=True)
    (root / version / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    (root / version / "model.json").write_text(json.dumps({"version": version}))
    complete_artifact(root / version)
    write_evaluation(root / version / "evaluation", version=version)
    return root / version


@pytest.mark.parametrize("uri", ["", "vertex://p/l"])
def test_a_challenger_becomes_champion_in_the_store_with_any_registry(
    uri: str, api: Api, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, uri, IMAGE)
    for version, before in (("m1", None), ("m2", "m1")):
        for _ in range(2):  # both steps can be repeated
            folder = tmp_path / version
            models.add(
                folder if folder.exists() else registered_model(tmp_path, version), folder / "evaluation", METRICS
            )
            assert models.make_champion(version, before, METRICS) == before
    assert champion(bucket_store).version == "m2"


def test_vertex_gets_each_model_once_with_its_evaluation_and_aliases(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, "vertex://p/l", IMAGE)
    for version, before in (("m1", None), ("m2", "m1")):
        models.add(registered_model(tmp_path, version), tmp_path / version / "evaluation", METRICS)
        assert registry.versions[-1]["versionAliases"] == ["challenger"]
        models.make_champion(version, before, METRICS)
    assert [version["versionAliases"] for version in registry.versions] == [[], ["champion"]]
    assert [version["versionDescription"] for version in registry.versions] == ["m1", "m2"]
    assert registry.versions[1]["artifactUri"] == f"{bucket_store}/models/m2"
    assert registry.evaluations["2"]["metrics"] == METRICS
    first, second = (request.body for request in api.requests_to("POST", "/models:upload"))
    assert (first.get("modelId"), second.get("parentModel")) == ("steam-recsys", MODEL)
    models.add(tmp_path / "m2", tmp_path / "m2" / "evaluation", METRICS)
    assert len(registry.versions) == 2


def test_a_registered_model_names_the_container_that_serves_it(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path
) -> None:
    folder = registered_model(tmp_path, "m1")
    open_registry(bucket_store, "vertex://p/l", IMAGE).add(folder, folder / "evaluation", METRICS)
    assert registry.versions[0]["containerSpec"] == {
        "imageUri": IMAGE,
        "command": ["python3", "-m", "explorer.vertex_serving"],
        "ports": [{"containerPort": 8080}],
        "healthRoute": "/health",
        "predictRoute": "/predict",
    }


def test_metrics_that_the_registry_does_not_accept_do_not_stop_a_promotion(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.accepts_metrics = False
    models = open_registry(bucket_store, "vertex://p/l", IMAGE)
    models.add(registered_model(tmp_path, "m1"), tmp_path / "m1" / "evaluation", METRICS)
    models.make_champion("m1", None, METRICS)
    assert registry.versions[0]["versionAliases"] == ["champion"]
    assert champion(bucket_store).metrics == METRICS
    logged = r"\[promote\] Vertex AI's Model Registry did not accept the metrics \(.*Format\); the store has them"
    assert re.search(logged, capsys.readouterr().out)


def test_an_interrupted_registration_is_completed_by_the_next(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path
) -> None:
    models = open_registry(bucket_store, "vertex://p/l", IMAGE)
    folder = registered_model(tmp_path, "m1")
    models.add(folder, folder / "evaluation", METRICS)
    registry.evaluations.clear()
    models.add(folder, folder / "evaluation", METRICS)
    assert registry.evaluations["1"]["metrics"] == METRICS
    assert len(registry.versions) == 1


def test_a_rollback_registers_a_champion_from_before_the_registry(
    tmp_path: Path, api: Api, registry: Registry, bucket_store: str
) -> None:
    promote_all(bucket_store, tmp_path, "one", "two")
    with pytest.raises(
        UserError, match=r"Model one is not in Vertex AI's Model Registry, .*: add --serving-image IMAGE"
    ):
        roll_back(bucket_store, registry="vertex://p/l")
    assert champion(bucket_store).version == "two"
    assert roll_back(bucket_store, registry="vertex://p/l", serving_image=IMAGE) == "one"
    assert champion(bucket_store).version == "one"
    assert [(each["versionDescription"], each["versionAliases"]) for each in registry.versions] == [
        ("one", ["champion"])
    ]


def test_a_registration_that_does_not_end_is_reported(
    api: Api, registry: Registry, bucket_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> Answer:
        if request.path.endswith("/models:upload") or "/operations/" in request.path:
            return 200, {"name": "projects/p/locations/l/operations/1", "done": False}
        return registry.answer(request)

    monkeypatch.setattr(promotion, "UPLOAD_SECONDS", 0.1)
    with serving(answer) as never:
        monkeypatch.setenv("VERTEX_MODEL_ENDPOINT", never.url)
        model = registered_model(tmp_path, "one")
        with pytest.raises(
            UserError, match=r"has not registered the model within 0 seconds: wait until its page shows"
        ):
            promote(bucket_store, model, model / "evaluation", "vertex://p/l", "image")


def test_a_forbidden_request_is_reported(api: Api, bucket_store: str, tmp_path: Path) -> None:
    api.failures["GET"] = [403]
    with pytest.raises(
        UserError, match=r"This account may not change Vertex AI's models: grant it the role Vertex AI User\."
    ):
        open_registry(bucket_store, "vertex://p/l", IMAGE).add(
            registered_model(tmp_path, "m1"), tmp_path / "m1/evaluation", METRICS
        )


@pytest.mark.parametrize(
    ("store", "registry_uri", "sentence"),
    [
        ("gs://b/store", "mlflow://x", "mlflow://x is not a model registry: leave it out, or write vertex://PROJECT"),
        ("/store", "vertex://p/l", "Vertex AI cannot read models from /store: use a store in a bucket"),
    ],
)
def test_an_unknown_registry_or_unreadable_store_is_rejected(store: str, registry_uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_registry(store, registry_uri)
