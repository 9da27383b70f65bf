"""Where promoted models are known: the model store, and beside it, on Google Cloud, Vertex AI's Model Registry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from steam_recsys.errors import UserError
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION
from steam_recsys.secrets import google_client
from steam_recsys.storage.folder import BUCKET_SCHEME
from steam_recsys.storage.model_store import add_model, model_version, move_champion

VERTEX = re.compile(r"vertex://(?P<project>[^/]+)/(?P<location>[^/]+)")
MODEL = "steam-recsys"
ENDPOINT_VARIABLE = "VERTEX_MODEL_ENDPOINT"
"""The environment variable that names another server than Google's, as a private endpoint's, or a test's."""


class ModelRegistry(Protocol):
    """Knows models by version, and which of them is the champion. Both steps can be repeated."""

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """Take in a model with its evaluation, as a challenger."""

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """Make a version the champion, if the champion is still the expected one; the champion before it."""


def open_registry(store: str, registry: str) -> ModelRegistry:
    """The registry that a pipeline's parameter names: nothing for the store alone, or vertex://PROJECT/LOCATION.

    Raises:
        UserError: it is neither, or the store is none that Vertex AI can read.
    """
    if not registry:
        return StoreRegistry(store)
    named = VERTEX.fullmatch(registry)
    if not named:
        raise UserError(f"{registry} is no model registry: leave it out, or write vertex://PROJECT/LOCATION.")
    if not store.startswith(BUCKET_SCHEME):
        raise UserError(f"Vertex AI cannot read models from {store}: use a store in a bucket, gs://…")
    return VertexRegistry(StoreRegistry(store), named["project"], named["location"])


class StoreRegistry:
    """The model store and its pointer."""

    def __init__(self, store: str) -> None:
        self.store = store

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """See `ModelRegistry.add`."""
        add_model(self.store, model, evaluation)

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """See `ModelRegistry.make_champion`."""
        return move_champion(self.store, version, expected=expected, metrics=metrics).previous


class VertexRegistry:
    """The store, whose pointer decides, and versions of one model of Vertex AI with the aliases of their roles."""

    def __init__(self, store: StoreRegistry, project: str, location: str) -> None:
        self._store = store
        self._parent = f"projects/{project}/locations/{location}"
        self._model = f"{self._parent}/models/{MODEL}"
        # Slow to import, and needed on Google Cloud only.
        from google.cloud.aiplatform_v1 import ModelServiceClient

        with _in_sentences():
            host = f"{location}-aiplatform.googleapis.com"
            self._client = google_client(ModelServiceClient, ENDPOINT_VARIABLE, host)

    def add(self, model: str | Path, evaluation: str | Path, metrics: Mapping[str, float]) -> None:
        """See `ModelRegistry.add`: the SavedModel and the metrics go along."""
        self._store.add(model, evaluation, metrics)
        version = model_version(model)
        with _in_sentences():
            numbers = self._numbers()
            number = numbers.get(version) or self._upload(version, first=not numbers)
            name = f"{self._model}@{number}"
            if not list(self._client.list_model_evaluations(parent=name)):
                evaluated = {"display_name": version, "metrics": dict(metrics)}
                self._client.import_model_evaluation(parent=name, model_evaluation=evaluated)

    def make_champion(self, version: str, expected: str | None, metrics: Mapping[str, float]) -> str | None:
        """See `ModelRegistry.make_champion`: the store's pointer first, which only one of two runs can move."""
        previous = self._store.make_champion(version, expected, metrics)
        with _in_sentences():
            name = f"{self._model}@{self._numbers()[version]}"
            self._client.merge_version_aliases(name=name, version_aliases=[CHAMPION, f"-{CHALLENGER}"])
        return previous

    def _upload(self, version: str, *, first: bool) -> str:
        """Register a version of the model, or the model with its first version; the version's number."""
        model = {
            "display_name": MODEL,
            "description": "Two-tower retrieval model: a user's history to games.",
            "version_description": version,
            "version_aliases": [CHALLENGER],
            "artifact_uri": f"{self._store.store.rstrip('/')}/models/{version}/saved_model",
            "labels": {"app": MODEL},
        }
        named = {"model_id": MODEL} if first else {"parent_model": self._model}
        uploaded = self._client.upload_model(request={"parent": self._parent, "model": model, **named}).result()
        return str(uploaded.model_version_id)

    def _numbers(self) -> dict[str, str]:
        """Vertex AI's numbers by our versions; empty where the model is not there yet."""
        from google.api_core.exceptions import NotFound

        try:
            listed = list(self._client.list_model_versions(name=self._model))
        except NotFound:
            return {}
        return {model.version_description: model.version_id for model in listed}


@contextmanager
def _in_sentences() -> Iterator[None]:
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import ConnectionError as Unreachable

    try:
        yield
    except Forbidden:
        raise UserError("This account may not change Vertex AI's models: grant it Vertex AI User.") from None
    except (GoogleAuthError, GoogleAPICallError, RetryError, Unreachable) as error:
        raise UserError(f"Vertex AI's Model Registry refused ({error}): promote again.") from None
