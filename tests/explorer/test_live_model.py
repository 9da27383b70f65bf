"""Live answers from the current publication's model, which equal the published ones."""

import fcntl
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from components.predict.plan import plan_predictions
from explorer import live_model
from explorer.filters import Filters, RankBy
from explorer.live_model import PublicationModel
from explorer.model_cache import CachedModel, available_games, cache_model, count_reviews, model_folder, read_games
from steam_recsys.data.predictions import CATALOGUE_FILE, predictions_uri
from steam_recsys.data.schemas import LISTS
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.storage.folder import open_folder
from tests.damage import damaged_contents
from tests.explorer.conftest import PublishedShop, RunningExplorer, serving, wait_until
from tests.explorer.publishing_runs import GAMES, GENRES, USERS, promote_random_model, run_inference
from tests.shop import add_game, add_user

TODAY = date(2024, 6, 1)
LATEST = """
SELECT game_id, recommended, hours_played
FROM (SELECT DISTINCT ON (game_id) * FROM steam.reviews WHERE user_id = %s
      ORDER BY game_id, reviewed_on DESC NULLS LAST, review_id DESC) AS latest
ORDER BY reviewed_on NULLS FIRST, review_id
"""


@pytest.fixture(scope="module")
def model(published_shop: PublishedShop, tmp_path_factory: pytest.TempPathFactory) -> PublicationModel:
    cache = tmp_path_factory.mktemp("cache")
    return PublicationModel(CachedModel.load(prepared(published_shop, cache)))


def prepared(published_shop: PublishedShop, cache: Path) -> Path:
    """Cache the model of the shop's publication, and return its folder."""
    plan = published_shop.plan
    as_of = date.fromisoformat(plan.as_of)
    cache_model(cache, "env:PUBLISHED_SHOP_URL", published_shop.store, plan.version, plan.model_version, as_of)
    return model_folder(cache, plan.version)


@contextmanager
def cursor_of(published_shop: PublishedShop) -> Iterator[Any]:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        yield cursor


@pytest.mark.parametrize("name", ["relevance", "discovery", "new_releases"])
def test_a_posted_history_gets_its_users_published_recommendations(
    published_shop: PublishedShop, client: httpx.Client, name: str
) -> None:
    with cursor_of(published_shop) as cursor:
        cursor.execute("SELECT game_id FROM steam.games WHERE delisted_on <= current_date")
        gone = {game for (game,) in cursor.fetchall()}
        cursor.execute(
            "SELECT user_id, game_ids, taste, popularity FROM recsys.recommendations WHERE list = %s ORDER BY user_id",
            [name],
        )
        rows = cursor.fetchall()
        reasons = []
        for user, game_ids, taste, popularity in rows:
            cursor.execute(LATEST, [user])
            history = [
                {"game_id": game, "recommended": verdict, "hours": hours} for game, verdict, hours in cursor.fetchall()
            ]
            answer = client.post("/api/v1/recommend", json={"history": history, "limit": 20, "rank_by": name}).json()
            expected = [row for row in zip(game_ids, taste, popularity, strict=True) if row[0] not in gone][:20]
            games = answer["games"][: len(expected)]
            assert [game["game_id"] for game in games] == [game for game, _, _ in expected]
            personal = any(taste)  # not for a user without reviews
            assert [game["kind"] for game in games] == ["personal" if personal else "popular"] * len(games)
            for name_of_part, parts in (
                ("taste", [row[1] for row in expected]),
                ("popularity", [row[2] for row in expected]),
            ):
                shown = [game[name_of_part] for game in games]
                assert shown == (pytest.approx(parts, abs=1e-5) if personal else [None] * len(games))
            cursor.execute("SELECT game_id, reason FROM recsys.recommended_games(%s, %s, p_limit => 20)", [user, name])
            published = dict(cursor.fetchall())
            reasons += [(game["reason"], published[game["game_id"]]) for game in games]
            assert answer["version"] == published_shop.plan.version
    assert len(rows) > 20
    # A game that is gone since may have been what popularity alone would have put higher, or the first of a page.
    differing = [now for now, then in reasons if now != then]
    assert len(differing) < 0.1 * len(reasons)
    assert any(
        reason.startswith({"relevance": "popular ", "discovery": "hidden gem"}.get(name, "new"))
        for reason, _ in reasons
    )
    if name == "relevance":
        assert any(reason.startswith("because you liked ") and reason.endswith(")") for reason, _ in reasons)


@pytest.mark.parametrize("name", ["relevance", "discovery", "new_releases"])
def test_on_the_day_of_the_publication_the_reasons_are_the_published_ones(
    published_shop: PublishedShop, model: PublicationModel, name: str
) -> None:
    today = date.fromisoformat(published_shop.plan.as_of)
    with cursor_of(published_shop) as cursor:
        cursor.execute("SELECT user_id, because FROM recsys.recommendations WHERE list = %s", [name])
        rows = cursor.fetchall()
        for user, because in rows:
            cursor.execute(LATEST, [user])
            games, verdicts, hours = zip(*cursor.fetchall(), strict=True) if cursor.rowcount else ((), (), ())
            filters = Filters(rank_by=name, limit=20)
            shown = model.recommend(games, filters, today, recommended=verdicts, hours=hours)
            assert [game.because for game in shown] == because[:20]


@pytest.mark.parametrize(
    "filters", [{"popularity": 0.0}, {"popularity": 0.4, "exclude": ["action"]}, {"include": "RPG"}]
)
def test_a_user_gets_what_their_reviews_get_as_a_posted_history(
    published_shop: PublishedShop, client: httpx.Client, filters: dict[str, Any]
) -> None:
    lists = set()
    for user in range(1, USERS + 1):
        with cursor_of(published_shop) as cursor:
            cursor.execute(LATEST, [user])
            history = [
                {"game_id": game, "recommended": verdict, "hours": hours} for game, verdict, hours in cursor.fetchall()
            ]
        answer = client.get(f"/api/v1/users/{user}/recommendations", params=filters).json()
        body = filters if "include" not in filters else {"include": [filters["include"]]}
        posted = client.post("/api/v1/recommend", json={"history": history, **body}).json()
        assert answer["games"] == posted["games"]
        assert answer["version"] == published_shop.plan.version
        lists.add(tuple(game["game_id"] for game in answer["games"]))
    assert len(lists) > USERS / 2


def test_live_answers_know_dismissed_games_and_the_control_group(changing: PublishedShop) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE recsys.publications SET control_share = 0.5")
        cursor.execute(
            "SELECT min(user_id) FILTER (WHERE recsys.in_control_group(user_id, 0.5)), "
            "min(user_id) FILTER (WHERE NOT recsys.in_control_group(user_id, 0.5)) FROM steam.reviews"
        )
        control, other = cursor.fetchone()
    with serving(changing.settings()) as served:
        served.wait_for_model(changing.plan.version)

        def live(user: int) -> list[dict[str, Any]]:
            return served.client.get(f"/api/v1/users/{user}/recommendations", params={"popularity": 0.5}).json()[
                "games"
            ]

        before = [game["game_id"] for game in live(other)]
        with changing.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT recsys.record_event(%s, %s, 'dismissed')", [other, before[0]])
            cursor.execute("SELECT game_id FROM steam.reviews WHERE user_id = %s", [control])
            reviewed = {game for (game,) in cursor.fetchall()}
        assert [game["game_id"] for game in live(other)][: len(before) - 1] == before[1:]
        assert {game["kind"] for game in live(other)} == {"personal"}
        compared = served.client.get(f"/users/{other}/compare", params={"limit": 100}).text
        assert f'href="/games/{before[1]}"' in compared
        assert f'href="/games/{before[0]}"' not in compared
        assert {game["kind"] for game in live(control)} == {"popular"}
        assert not {game["game_id"] for game in live(control)} & reviewed


def test_a_review_of_an_infinite_day_counts_without_a_day(shop: Connection) -> None:
    add_game(shop, "early")
    for name, day in (("ann", "-infinity"), ("ben", "infinity"), ("eve", "2024-01-01")):
        add_user(shop, name)
        with shop.cursor() as cursor:
            cursor.execute(
                "INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on) "
                "SELECT user_id, 1, true, %s FROM steam.users WHERE username = %s",
                [day, name],
            )
    with shop.cursor() as cursor:
        popularity, reviews = count_reviews(cursor, np.array([1], np.int32), date(2024, 1, 2))
    assert reviews.reviews.tolist() == [3]
    assert 0 < popularity[0, 0] < 1  # the review of a day


def test_games_and_popularity_equal_those_of_the_plan(published_shop: PublishedShop, tmp_path: Path) -> None:
    plan = plan_predictions(published_shop.folder / "snapshot-model-1", published_shop.store, 10)
    content = open_folder(predictions_uri(published_shop.store, plan.version)).read(CATALOGUE_FILE)
    catalogue = pq.read_table(io.BytesIO(content))
    with cursor_of(published_shop) as cursor:
        games = read_games(cursor)
        as_of = date.fromisoformat(plan.as_of)
        popularity, reviews = count_reviews(cursor, games["game_id"].to_numpy(), as_of)
    for column in set(catalogue.column_names) & set(games.column_names):
        assert games[column].equals(catalogue[column])
    assert available_games(games, as_of).tolist() == catalogue["available"].to_pylist()
    planned = np.array(catalogue["popularity"].to_pylist()).T
    np.testing.assert_allclose(popularity, planned, rtol=1e-9, atol=1e-290)
    assert reviews.likes.tolist() == catalogue["likes"].to_pylist()
    assert reviews.reviews.tolist() == catalogue["reviews"].to_pylist()
    assert (planned > 0).any()


def test_a_day_that_python_cannot_hold_counts_as_unknown(shop: Connection) -> None:
    for name in ("early", "usual", "late"):
        add_game(shop, name, released_on=date(2020, 1, 1), delisted_on=date(2021, 1, 1))
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET released_on = '0044-03-15 BC' WHERE name = 'early'")
        cursor.execute("UPDATE steam.games SET delisted_on = '20220-05-01' WHERE name = 'late'")
        games = read_games(cursor)
    assert games["released_on"].to_pylist() == [None, date(2020, 1, 1), date(2020, 1, 1)]
    assert games["delisted_on"].to_pylist() == [date(2021, 1, 1), date(2021, 1, 1), None]


def test_without_dated_reviews_every_sold_game_is_available(published_shop: PublishedShop) -> None:
    with cursor_of(published_shop) as cursor:
        games = read_games(cursor)
    available = available_games(games, date(1970, 1, 1))
    assert available.tolist() == [day is None for day in games["delisted_on"].to_pylist()]


def pool(model: PublicationModel, history: list[int], rank_by: str) -> tuple[list[int], int]:
    """Return all games of the list that an order is made from, the best first, and how many of them it takes."""
    name = rank_by if rank_by in LISTS else "interests"
    wanted = model._lists[name]
    games = model._online.recommend_list(replace(wanted, length=GAMES), history)
    return [game.game_id for game in games], wanted.length


def naive(cursor: Any, history: list[int], filters: Filters, model: PublicationModel) -> list[int]:
    """Return the expected games by a query on the shop's tables, from the games of each list."""
    cursor.execute(
        """
        SELECT g.game_id, g.released_on,
               (SELECT min(k.rank) FROM steam.rankings AS k WHERE k.game_id = g.game_id AND k.rank_type = %(type)s
                AND (lower(k.genre) = %(genre)s OR NOT EXISTS (
                    SELECT FROM steam.rankings AS o WHERE o.rank_type = %(type)s AND lower(o.genre) = %(genre)s)))
        FROM steam.games AS g LEFT JOIN steam.game_requirements AS q ON q.game_id = g.game_id AND q.level = 'minimum'
        CROSS JOIN LATERAL (
            SELECT ARRAY(SELECT lower(t.name) FROM steam.game_genres JOIN steam.genres AS t USING (genre_id)
                         WHERE game_id = g.game_id
                         UNION SELECT lower(k.genre) FROM steam.rankings AS k WHERE k.game_id = g.game_id) AS genres
        ) AS all_of
        WHERE (g.released_on IS NULL OR extract(year FROM g.released_on) BETWEEN %(from)s AND %(to)s)
          AND (q.ram_gb IS NULL OR q.ram_gb <= %(ram)s) AND (q.storage_gb IS NULL OR q.storage_gb <= %(storage)s)
          AND (%(os)s::text IS NULL OR coalesce(recsys.systems_of(q.os), '{}') = '{}'
               OR %(os)s = ANY (recsys.systems_of(q.os)))
          AND (%(genre)s IS NULL OR EXISTS (SELECT FROM steam.game_genres JOIN steam.genres AS t USING (genre_id)
                                            WHERE game_id = g.game_id AND lower(t.name) = %(genre)s)
               OR EXISTS (SELECT FROM steam.rankings AS k WHERE k.game_id = g.game_id AND lower(k.genre) = %(genre)s))
          AND (%(include)s::text[] = '{}' OR all_of.genres && %(include)s::text[])
          AND NOT all_of.genres && %(exclude)s::text[]
          AND coalesce(g.delisted_on > %(today)s, true)
        """,
        {
            "type": {"sales": "Sales", "revenue": "Revenue", "reviews": "Review"}.get(filters.rank_by, ""),
            "genre": filters.genre and filters.genre.lower(),
            "from": filters.released_from or -10_000,
            "to": filters.released_to or 10_000,
            "ram": filters.max_ram_gb if filters.max_ram_gb is not None else 1e9,
            "storage": filters.max_storage_gb if filters.max_storage_gb is not None else 1e9,
            "os": filters.os,
            "today": TODAY,
            "include": [genre.lower() for genre in filters.include],
            "exclude": [genre.lower() for genre in filters.exclude],
        },
    )
    passing = {game: (released, rank) for game, released, rank in cursor.fetchall()}
    best = []
    if filters.rank_by != "relevance":
        games, length = pool(model, history, filters.rank_by)
        best = [game for game in games if game in passing][: max(filters.limit, length)]
    if filters.rank_by not in ("discovery", "new_releases"):
        relevant = [game.game_id for game in model.recommend(history, Filters(limit=GAMES), TODAY)]
        more = [game for game in relevant if game in passing and game not in best]
        best += more[: max(filters.limit - len(best), 0)]
    if filters.rank_by == "newest":
        best.sort(key=lambda game: passing[game][0] or date.min, reverse=True)
    elif filters.rank_by not in LISTS:
        best.sort(key=lambda game: passing[game][1] or 10**9)
    return best[: filters.limit]


@given(st.data())
def test_filters_and_orders_equal_those_of_a_query_on_the_shops_tables(
    published_shop: PublishedShop, model: PublicationModel, data: st.DataObject
) -> None:
    history = data.draw(st.lists(st.integers(1, GAMES), max_size=3))
    some = st.none()
    genres = st.lists(st.sampled_from(["Action", "rpg", "Role-Playing", "no such genre"]), max_size=2)
    filters = Filters(
        rank_by=data.draw(st.sampled_from(get_args(RankBy))),
        genre=data.draw(some | st.sampled_from([*GENRES, "aCTION", "role-playing", "no such genre"])),
        released_from=data.draw(some | st.integers(2016, 2025)),
        released_to=data.draw(some | st.integers(2016, 2025)),
        max_ram_gb=data.draw(some | st.sampled_from([0.0, 1.0, 3.5, 16.0])),
        max_storage_gb=data.draw(some | st.sampled_from([0.5, 10.0, 60.0])),
        os=data.draw(some | st.sampled_from(["windows", "mac", "linux"])),
        include=data.draw(genres),
        exclude=data.draw(genres),
        limit=data.draw(st.integers(1, 60)),
    )
    with cursor_of(published_shop) as cursor:
        expected = naive(cursor, history, filters, model)
    shown = model.recommend(history, filters, TODAY)
    assert [game.game_id for game in shown] == expected


@pytest.mark.parametrize("rank_by", ["sales", "revenue", "reviews", "newest"])
def test_an_order_goes_on_from_page_to_page(
    model: PublicationModel, monkeypatch: pytest.MonkeyPatch, rank_by: RankBy
) -> None:
    monkeypatch.setitem(model._lists, "interests", replace(model._lists["interests"], length=8))
    whole = [game.game_id for game in model.recommend([1, 2], Filters(rank_by=rank_by, limit=8), TODAY)]
    shown: list[int] = []
    for _ in range(4):
        page = model.recommend([1, 2], Filters(rank_by=rank_by, limit=2), TODAY, shown=shown)
        shown += [game.game_id for game in page]
    assert shown == whole
    without = model.recommend([1, 2], Filters(rank_by=rank_by, limit=8), TODAY, without=whole[:1], shown=whole[1:3])
    assert not {game.game_id for game in without} & set(whole[:3])


def test_a_comparison_has_the_models_the_popular_and_the_games_played_together(model: PublicationModel) -> None:
    history, filters = [1, 2, 3], Filters(limit=12, rank_by="newest", popularity=0.5)
    own, popular, together = model.compare(history, filters, TODAY, recommended=[True, False, True])
    assert own == model.recommend(history, filters, TODAY, recommended=[True, False, True])
    plain = Filters(limit=12 + len(history))
    assert [game.game_id for game in popular] == [
        game.game_id for game in model.recommend([], plain, TODAY) if game.game_id not in history
    ][:12]
    assert together
    assert not {game.game_id for game in (*own, *popular, *together)} & set(history)
    available = {int(each) for each in model._cached.game_ids[model.passing(filters, TODAY)]}
    assert {game.game_id for game in together} <= available


def test_similar_games_equal_a_naive_search_by_cosine(published_shop: PublishedShop, model: PublicationModel) -> None:
    arrays = model._cached
    vectors = arrays.scorer.candidates
    passing = model.passing(Filters(), TODAY)
    for position in (0, 40, GAMES - 1):
        game_id = int(arrays.game_ids[position])
        cosines = {
            int(arrays.game_ids[other]): float(vectors[position] @ vectors[other])
            for other in range(GAMES)
            if other != position and passing[other]
        }
        shown = model.similar(game_id, 5, TODAY)
        assert [game.game_id for game, _ in shown] == sorted(cosines, key=lambda game: -cosines[game])[: len(shown)]
        assert [cosine for _, cosine in shown] == pytest.approx([cosines[game.game_id] for game, _ in shown], abs=1e-6)
        assert len(shown) == (5 if vectors[position].any() else 0)
    assert model.similar(10**9, 5, TODAY) == []
    assert len(model.similar(1, 10**6, TODAY)) == np.count_nonzero(passing) - passing[0]


def test_a_game_is_excluded_from_the_day_of_its_delisting(
    published_shop: PublishedShop, model: PublicationModel
) -> None:
    facts, available = model._cached.facts, model._cached.available
    position = next(at for at in range(GAMES) if available[at] and facts.delisted[at] < 10**6)
    day = date(1970, 1, 1) + timedelta(int(facts.delisted[position]))
    shown = [
        {game.game_id for game in model.recommend([], Filters(limit=GAMES), today)}
        for today in (day - timedelta(1), day, day + timedelta(1))
    ]
    assert [int(model._cached.game_ids[position]) in games for games in shown] == [True, False, False]


def test_a_model_is_cached_once_and_others_are_removed(published_shop: PublishedShop, tmp_path: Path) -> None:
    (tmp_path / "of another publication").mkdir()
    (tmp_path / "unfinished").mkdir()
    folder = prepared(published_shop, tmp_path)
    made = (folder / "model.json").stat().st_mtime_ns
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]
    assert prepared(published_shop, tmp_path) == folder
    assert (folder / "model.json").stat().st_mtime_ns == made


def test_a_damaged_file_is_not_mapped_and_is_cached_again(published_shop: PublishedShop, tmp_path: Path) -> None:
    folder = prepared(published_shop, tmp_path)
    expected = PublicationModel(CachedModel.load(folder)).recommend([1, 2], Filters(), TODAY)
    for number, path in enumerate(sorted(folder.iterdir())):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=rf"{path.name} (is|has) .*: it is cached again\."):
            CachedModel.load(folder)
        if number:
            path.write_bytes(whole)
        else:  # once is enough, it takes a second
            assert prepared(published_shop, tmp_path) == folder
    assert PublicationModel(CachedModel.load(folder)).recommend([1, 2], Filters(), TODAY) == expected


def test_a_damaged_model_in_the_store_gives_no_answers(published_shop: PublishedShop, tmp_path: Path) -> None:
    store = shutil.copytree(published_shop.store, tmp_path / "store")
    plan, as_of = published_shop.plan, date.fromisoformat(published_shop.plan.as_of)
    for name in ("model.json", "vocabulary.json", "arrays.npz", "manifest.json"):
        path = store / "models" / plan.model_version / name
        whole = path.read_bytes()
        for _, content in damaged_contents(whole):
            path.write_bytes(content)
            with pytest.raises(UserError, match=rf"^{path} (is|has) .*: train it again\.$"):
                cache_model(tmp_path, "env:PUBLISHED_SHOP_URL", str(store), plan.version, plan.model_version, as_of)
        path.write_bytes(whole)


def test_mapped_arrays_outlive_their_files(published_shop: PublishedShop, tmp_path: Path) -> None:
    folder = prepared(published_shop, tmp_path)
    model = PublicationModel(CachedModel.load(folder))
    before = model.recommend([1, 2], Filters(), TODAY)
    for path in folder.iterdir():
        path.unlink()
    assert model.recommend([1, 2], Filters(), TODAY) == before


def test_the_model_of_a_new_publication_is_loaded(changing: PublishedShop) -> None:
    with serving(changing.settings()) as served:
        served.wait_for_model(changing.plan.version)
        first = served.client.post("/api/v1/recommend", json={"history": [1]}).json()
        promote_random_model(changing.store, changing.folder / "model-2", "model-2", seed=1)
        plan = run_inference("env:EXPLORER_OPERATOR_DATABASE_URL", changing.store, changing.folder)
        served.wait_for_model(plan.version)
        second = served.client.post("/api/v1/recommend", json={"history": [1]}).json()
    assert [first["model_version"], second["model_version"]] == ["model-1", "model-2"]
    assert [first["version"], second["version"]] == [changing.plan.version, plan.version]
    assert first["games"] != second["games"]


def test_caching_that_takes_too_long_is_retried(
    published_shop: PublishedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_model, "CACHE_SECONDS", 0.5)
    monkeypatch.setattr(live_model, "RETRY_SECONDS", 0.1)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # caching waits for this lock
        with serving(published_shop.settings(cache=tmp_path)) as served:
            wait_until(lambda: "It was not cached within 0 s." in caplog.text)
            monkeypatch.setattr(live_model, "CACHE_SECONDS", 60.0)
            fcntl.flock(lock, fcntl.LOCK_UN)
            served.wait_for_model(published_shop.plan.version)
    making = [child for child in psutil.Process().children() if "explorer.model_cache" in child.cmdline()]
    assert psutil.wait_procs(making, timeout=30)[1] == []


def test_arrays_that_another_worker_removed_are_cached_again_at_once(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_model, "RETRY_SECONDS", 3600.0)
    removed = []
    load = CachedModel.load

    def overtaken(folder: Path) -> CachedModel:
        if not removed:
            removed.append(folder)
            shutil.rmtree(folder)
        return load(folder)

    monkeypatch.setattr(CachedModel, "load", overtaken)
    with serving(published_shop.settings()) as served:
        served.wait_for_model(published_shop.plan.version)
    assert len(removed) == 1
    assert "is not loaded" not in caplog.text


def problem(served: RunningExplorer) -> tuple[str, str]:
    """Return the code and the detail of the answer to a posted history, which must fail."""
    answer = served.client.post("/api/v1/recommend", json={"history": []})
    assert answer.status_code == 503
    return answer.json()["code"], answer.json()["detail"]


def test_before_the_first_publication_a_posted_history_gets_that_as_the_reason(changing: PublishedShop) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE recsys.publications SET current = false")
    with serving(changing.settings()) as served:
        wait_until(lambda: problem(served)[0] == "nothing_published")
        with changing.connection() as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE recsys.publications SET current = true")
        served.wait_for_model(changing.plan.version)


def test_a_game_that_is_delisted_after_the_publication_leaves_the_answers(
    changing: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(live_model, "DELISTED_SECONDS", 0.1)
    with serving(changing.settings()) as served:
        served.wait_for_model(changing.plan.version)

        def listed(limit: int) -> list[int]:
            answer = served.client.post("/api/v1/recommend", json={"history": [1], "limit": limit}).json()
            return [game["game_id"] for game in answer["games"]]

        before = listed(6)
        with changing.connection() as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE steam.games SET delisted_on = current_date WHERE game_id = %s", [before[0]])
        wait_until(lambda: listed(5) == before[1:], seconds=60)


def test_without_the_database_a_loaded_model_is_not_reported_as_missing(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_model, "POLL_SECONDS", 0.02)
    with serving(published_shop.settings()) as served:
        served.wait_for_model(published_shop.plan.version)
        failed = []

        async def fail() -> None:
            failed.append(1)
            raise HTTPException(503, "The database cannot be reached.")

        served.app.state.repository.publication = fail
        wait_until(lambda: len(failed) > 2)
    assert "is not loaded" not in caplog.text


def test_an_unexpected_error_of_loading_is_logged_with_its_stack_trace(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(live_model.LiveModel, "_load", fail)
    with serving(published_shop.settings()) as served:
        wait_until(lambda: problem(served)[0] == "no_model")
    assert "is not loaded: ZeroDivisionError: a bug\nTraceback" in caplog.text


def test_without_a_store_or_a_model_everything_else_works(published_shop: PublishedShop, tmp_path: Path) -> None:
    with serving(published_shop.settings(store=None)) as served:
        assert problem(served) == ("no_model", "There is no model store: set EXPLORER_STORE.")
        assert served.client.get("/readyz").status_code == 200
    with serving(published_shop.settings(store=str(tmp_path))) as served:
        wait_until(lambda: problem(served) != ("model_loading", live_model.LOADING[1]))
        assert problem(served) == ("no_model", "The model cannot be loaded: see the explorer's log.")
        assert served.client.get("/readyz").json()["code"] == "no_model"
        assert served.client.get("/api/v1/users/1/recommendations").status_code == 200


def test_the_explorer_imports_neither_tensorflow_nor_kfp() -> None:
    code = (
        "import sys, pkgutil, importlib, explorer\n"
        "for found in pkgutil.iter_modules(explorer.__path__):\n"
        "    if found.name != '__main__': importlib.import_module(f'explorer.{found.name}')\n"
        "import components.reverse_etl.publication\n"
        "print(*sorted({'tensorflow', 'keras', 'kfp', 'scipy', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
