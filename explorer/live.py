"""The model of the current publication, for answers to a history of this second, without TensorFlow."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

from explorer.arrays import Arrays, arrays_folder
from explorer.model import Model
from explorer.problems import Problem
from explorer.settings import Settings
from explorer.shop import Shop
from explorer.views import Filters, LiveAnswer, Publication, SimilarGames

LOG = logging.getLogger("explorer")
LOOK_SECONDS = 2.0
"""How often the worker looks whether another publication is current."""

AGAIN_SECONDS = 30.0
"""How long it waits after arrays that could not be made, before it tries again."""

MAKE_SECONDS = 600.0
"""How long the making of arrays may take, and the wait for another worker that makes the same."""

MOST_WAITING = 64
"""Answers that are waited for at a time: more would only be late."""

Answered = TypeVar("Answered")


class Live:
    """Answers from the current publication's model, which is read in the background when another is current.

    Its answers raise `Problem` (503) where there is no model store, while no model has been read, and when too many
    wait for theirs.
    """

    def __init__(self, settings: Settings, shop: Shop, cache: Path) -> None:
        """`cache` is a folder that the workers of this machine share."""
        self._settings = settings
        self._shop = shop
        self._cache = cache
        self._model: Model | None = None
        # One after the other: two at a time would each take twice as long, and there is a worker a core.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._waiting = 0

    @property
    def model(self) -> Model | None:
        """The model that answers; None where none has been read yet."""
        return self._model

    async def recommend(
        self,
        history: Sequence[int],
        filters: Filters,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
    ) -> LiveAnswer:
        """The best games for a history of game ids, the newest last; see `Model.recommend`."""
        model = self._ready()
        games = await self._answer(
            lambda: model.recommend(history, filters, _today(), recommended=recommended, hours=hours)
        )
        return LiveAnswer(model.version, model.model_version, filters, games)

    async def similar(self, game_id: int, k: int) -> SimilarGames:
        """The k games that are nearest to a game; none where nothing is known of it."""
        model = self._ready()
        games = await self._answer(lambda: model.similar(game_id, k, _today()))
        return SimilarGames(model.version, model.model_version, game_id, games)

    async def follow(self) -> None:
        """Keep to the current publication until cancelled."""
        if self._settings.store is None:
            return
        complaint, overtaken = None, False
        while True:
            pause = LOOK_SECONDS
            try:
                publication = await self._shop.publication()
                if publication and (self._model is None or self._model.version != publication.version):
                    pause = AGAIN_SECONDS
                    self._model = await self._read(self._settings.store, publication)
                    LOG.info("answers come from publication %s now", publication.version)
                pause, complaint, overtaken = LOOK_SECONDS, None, False
            except Exception as error:
                if isinstance(error, FileNotFoundError) and not overtaken:
                    overtaken = True  # by a worker that has removed these arrays for those of the next publication
                    continue
                said = error.sentence if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
                if said != complaint:  # once, not every few seconds
                    LOG.warning("the model of the current publication is not read: %s", said)
                complaint = said
            await asyncio.sleep(pause)

    async def _read(self, store: str, publication: Publication) -> Model:
        made = (publication.version, publication.model_version, publication.as_of.isoformat())
        process = subprocess.Popen(
            [sys.executable, "-m", "explorer.prepare", str(self._cache), store, *made],
            env={**os.environ, "EXPLORER_DATABASE_URL": self._settings.database_url.get_secret_value()},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            async with asyncio.timeout(MAKE_SECONDS):
                _, said = await asyncio.to_thread(process.communicate)
        except TimeoutError:
            raise Problem(503, f"Its arrays were not made within {MAKE_SECONDS:.0f} s.") from None
        finally:
            process.terminate()  # where it has not ended by itself
        if process.returncode:
            lines = said.strip().splitlines()
            raise Problem(503, lines[-1] if lines else f"Its process ended with {process.returncode}.")
        return await asyncio.to_thread(lambda: Model(Arrays.read(arrays_folder(self._cache, publication.version))))

    def _ready(self) -> Model:
        if self._settings.store is None:
            raise Problem(503, "There is no model store here: set EXPLORER_STORE.")
        if self._model is None:
            raise Problem(503, "The model of the current publication is still being read: try again in a moment.")
        return self._model

    async def _answer(self, work: Callable[[], Answered]) -> Answered:
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "Too many are waiting for an answer: try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def _today() -> date:
    return datetime.now(UTC).date()
