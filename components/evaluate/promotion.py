"""The promotion stage: make a model that passed the gate the champion, in the model store and in its registry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from components.evaluate.results import Evaluation
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION
from steam_recsys.logging import log
from steam_recsys.secrets import google_client
from steam_recsys.storage.folder import BUCKET_SCHEME, open_folder
from steam_recsys.storage.model_store import (
    EVALUATION,
    add_model,
    champion,
    model_version,
    move_champion,
    stored_model,
)

CALL_SECONDS = 60.0
"""Largest wait for an answer of Vertex AI."""

UPLOAD_SECONDS = 900.0
"""Largest wait until Vertex AI has registered a model."""

VERTEX = re.compile(r"vertex://(?P<project>[^/]+)/(?P<location>[^/]+)")
MODEL = "steam-recsys"
SERVING_COMMAND = ["python3", "-m", "explorer.vertex_serving"]
"""What a registered model's serving container, the explorer's image, runs on an endpoint."""

SERVING_PORT, HEALTH_ROUTE, PREDICT_ROUTE = 8080, "/health", "/predict"
"""Where Vertex AI sends requests; the container receives them as AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE."""

ENDPOINT_VARIABLE = "VERTEX_MODEL_ENDPOINT"
"""Environment variable for another server than Google's public one: a private endpoint, or a test's."""


def promote(store: str, model: str | Path, evaluation: str | Path, registry: str = "", serving_image: str = "") -> str:
    """Copy a model into the store and make it the champion, if it passed the gate.

    Promotion can be repeated, also after a crash: the copy is complete or missing, and the pointer moves last.

    Args:
        store: The model store.
        model: Folder of the model.
        evaluation: The folder that `Evaluation.write` wrote for this model.
        registry: Registry beside the store: empty for none, or vertex://PROJECT/LOCATION.
        serving_image: The explorer's image, which serves the model on an endpoint of Vertex AI.

    Returns:
        The version of the champion.

    Raises:
        UserError: The model did not pass the gate, the evaluation is of another model, or the champion is no longer the
            one that the model was compared with.
    """
    # 1. Check that the evaluation allows it.
    evaluated = Evaluation.read(Path(evaluation) / EVALUATION)
    if not evaluated.verdict.passed:
        failures = " ".join(map(str, evaluated.verdict.failures))
        raise UserError(f"Model {evaluated.version} did not pass the gate and was not added to {store}: {failures}")
    if (version := model_version(model)) != evaluated.version:
        raise UserError(f"{evaluation} is about model {evaluated.version}, not {version}: evaluate {model} first.")

    # 2. Add the model to the store and the registry.
    models = open_registry(store, registry, serving_image)
    metrics = evaluated.means(CHALLENGER)
    models.add(model, evaluation, metrics)

    # 3. Move the pointer.
    previous = models.make_champion(version, evaluated.champion, metrics)
    change = "unchanged" if evaluated.is_champion else f"previously {previous or 'none'}"
    log("promote", f"champion {version}, {change}")
    return version


def roll_back(
    store: str,
    version: str | None = None,
    registry: str = "",
    expected: str | None = None,
    serving_image: str = "",
) -> str:
    """Make an earlier model the champion again; recommendations change with the next inference run.

    Each rollback goes one champion back, to the model that the current champion has beaten, and never to a model that
    was itself rolled back.

    Args:
        store: The model store.
        version: The model; None for the one that the champion has beaten.
        registry: See `promote`.
        expected: Version of the champion to replace; None for any.
        serving_image: See `promote`; needed for a model from before the registry.

    Returns:
        The version of the new champion.

    Raises:
        UserError: The champion is not the expected one, it has beaten none, the model is not in the store, or another
            run moves the pointer at the same time.
    """
    current = champion(store).version
    if expected not in (None, current):
        raise UserError(f"The champion of the model store {store} is {current}, not {expected}: nothing was changed.")
    target = version or _predecessor(store, current)
    if target is None:
        raise UserError(f"There is no champion before {current} in {store}: name a model with --version.")
    models = open_registry(store, registry, serving_image)
    with stored_model(store, target) as folder:
        metrics = Evaluation.read(folder / EVALUATION).means(CHALLENGER)
        models.add(folder, folder, metrics)  # a registry that was added later may lack it
    models.make_champion(target, current, metrics)
    return target


def _predecessor(store: str, version: str) -> str | None:
    """Return the champion that a model was compared with; None if there was none.

    Raises:
        UserError: The model's evaluation cannot be read.
    """
    try:
        with open_folder(store).local_path(f"models/{version}/{EVALUATION}") as evaluation:
            found = Evaluation.read(evaluation).champion
    except ArtifactError:
        raise UserError(
            f"The evaluation of {version} in {store} cannot be read, so the champion before it is unknown: name a "
            f"model with --version."
        ) from None
    # A model that has replaced its own damaged copy was compared with itself.
    return champion(store).previous if found == version else found


class ModelRegistry(Protocol):
    """A registry of models by version, one of which is the champion. Both operations can be repeated."""

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """Add a model with its evaluation as a challenger."""

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """Make a version the champion, if the champion is the expected one, and return the previous champion."""


def open_registry(store: str, registry: str, serving_image: str = "") -> ModelRegistry:
    """Open the registry that a pipeline's parameter names: empty for the store alone, or vertex://PROJECT/LOCATION.

    Raises:
        UserError: It is neither, or Vertex AI cannot read the store.
    """
    if not registry:
        return StoreRegistry(store)
    address = VERTEX.fullmatch(registry)
    if not address:
        raise UserError(f"{registry} is not a model registry: leave it out, or write vertex://PROJECT/LOCATION.")
    if not store.startswith(BUCKET_SCHEME):
        raise UserError(f"Vertex AI cannot read models from {store}: use a store in a bucket, gs://…")
    return VertexRegistry(StoreRegistry(store), address["project"], address["location"], serving_image)


class StoreRegistry:
    """The model store and its champion pointer."""

    def __init__(self, store: str) -> None:
        self.store = store

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """See `ModelRegistry.add`."""
        add_model(self.store, model, evaluation)

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """See `ModelRegistry.make_champion`."""
        return move_champion(self.store, version, expected=expected, metrics=metrics).previous


class VertexRegistry:
    """The model store, whose pointer decides, and Vertex AI's Model Registry: one model whose versions have aliases."""

    def __init__(self, store: StoreRegistry, project: str, location: str, serving_image: str) -> None:
        self._store = store
        self._serving_image = serving_image
        self._parent = f"projects/{project}/locations/{location}"
        self._model = f"{self._parent}/models/{MODEL}"
        # Slow to import, and only needed on Google Cloud.
        from google.cloud.aiplatform_v1 import ModelServiceClient

        with _user_errors():
            host = f"{location}-aiplatform.googleapis.com"
            self._client = google_client(ModelServiceClient, ENDPOINT_VARIABLE, host)

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """Add the model with its serving container, and the metrics, too; see `ModelRegistry.add`."""
        self._store.add(model, evaluation, metrics)
        version = model_version(model)
        with _user_errors():
            numbers = self._numbers()
            number = numbers.get(version) or self._upload(version, first=not numbers)
            name = f"{self._model}@{number}"
            if not list(self._client.list_model_evaluations(parent=name, timeout=CALL_SECONDS)):
                self._import_evaluation(name, version, metrics)

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """Move the store's pointer first, which only one of two runs can do; see `ModelRegistry.make_champion`."""
        previous = self._store.make_champion(version, expected, metrics)
        with _user_errors():
            name = f"{self._model}@{self._numbers()[version]}"
            self._client.merge_version_aliases(
                name=name, version_aliases=[CHAMPION, f"-{CHALLENGER}"], timeout=CALL_SECONDS
            )
        return previous

    def _import_evaluation(self, name: str, version: str, metrics: Mapping[str, float]) -> None:
        """Add the metrics to a registered version. Vertex AI has no schema for ranking metrics, and may refuse them."""
        from google.api_core.exceptions import BadRequest

        evaluated = {"display_name": version, "metrics": dict(metrics)}
        try:
            self._client.import_model_evaluation(parent=name, model_evaluation=evaluated, timeout=CALL_SECONDS)
        except BadRequest as error:
            log(
                "promote",
                f"Vertex AI's Model Registry did not accept the metrics ({error.message}); the store has them",
            )

    def _upload(self, version: str, *, first: bool) -> str:
        """Register a version, and the model itself with its first version; return Vertex AI's number of the version."""
        if not self._serving_image:
            raise UserError(
                f"Model {version} is not in Vertex AI's Model Registry, which requires the image that serves it: "
                f"add --serving-image IMAGE, the explorer's image."
            )
        model = {
            "display_name": MODEL,
            "description": "Two-tower retrieval model: from a user's history to games.",
            "version_description": version,
            "version_aliases": [CHALLENGER],
            "artifact_uri": f"{self._store.store.rstrip('/')}/models/{version}",
            "container_spec": {
                "image_uri": self._serving_image,
                "command": SERVING_COMMAND,
                "ports": [{"container_port": SERVING_PORT}],
                "health_route": HEALTH_ROUTE,
                "predict_route": PREDICT_ROUTE,
            },
            "labels": {"app": MODEL},
        }
        parent = {"model_id": MODEL} if first else {"parent_model": self._model}
        request = {"parent": self._parent, "model": model, **parent}
        uploading = self._client.upload_model(request=request, timeout=CALL_SECONDS)
        return str(uploading.result(timeout=UPLOAD_SECONDS).model_version_id)

    def _numbers(self) -> dict[str, str]:
        """Return Vertex AI's version numbers by our versions; empty if the model is not registered yet."""
        from google.api_core.exceptions import NotFound

        try:
            listed = list(self._client.list_model_versions(name=self._model, timeout=CALL_SECONDS))
        except NotFound:
            return {}
        return {model.version_description: model.version_id for model in listed}


@contextmanager
def _user_errors() -> Iterator[None]:
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except TimeoutError:
        raise UserError(
            f"Vertex AI's Model Registry has not registered the model within {UPLOAD_SECONDS:.0f} seconds: wait until "
            f"its page shows the model, and promote again."
        ) from None
    except Forbidden:
        raise UserError("This account may not change Vertex AI's models: grant it the role Vertex AI User.") from None
    except (GoogleAuthError, GoogleAPICallError, RetryError, RequestException) as error:
        raise UserError(f"Vertex AI's Model Registry refused the request ({error}): promote again.") from None
