"""The JSON API over HTTP, and its page of documentation."""

import json
import math
import re
import shlex
from http import HTTPStatus
from typing import Any, get_args

import httpx
import pytest

from explorer.filters import RankBy
from explorer.repository import QUERIES
from explorer.schemas import HISTORY_EXAMPLE, LIVE_EXAMPLE, RECOMMENDATIONS_EXAMPLE, SHELVES_EXAMPLE
from tests.explorer.conftest import PublishedShop, RunningExplorer, serving
from tests.explorer.parsed_page import Page, page
from tests.explorer.publishing_runs import GAMES, USERS, promote_random_model, run_inference
from tests.shop import add_review, add_user

ROW = {
    "rank", "game_id", "name", "kind", "taste", "popularity", "match", "reason", "because", "released_on", "genres",
    "positive_share", "reviews", "link",
}  # fmt: skip


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def refused(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "code", "detail"]
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["detail"].endswith(".")
    assert "\n" not in problem["detail"]
    return str(problem["detail"])


def test_recommendations_are_complete_and_name_their_publication(
    published_shop: PublishedShop, client: httpx.Client
) -> None:
    answer = get(client, "/api/v1/users/1/recommendations", rank_by="newest", limit=3, max_ram_gb=8, genre="")
    assert answer["version"] == published_shop.plan.version
    assert answer["user_id"] == 1
    assert answer["filters"] == {
        "rank_by": "newest", "genre": None, "released_from": None, "released_to": None, "max_ram_gb": 8.0,
        "max_storage_gb": None, "os": None, "popularity": 1.0, "include": [], "exclude": [], "limit": 3,
    }  # fmt: skip
    assert [game["rank"] for game in answer["games"]] == [1, 2, 3]
    assert set(answer["games"][0]) == ROW


def test_personal_games_have_a_match_in_percent_of_the_best_taste(
    published_shop: PublishedShop, client: httpx.Client
) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(t) FROM recsys.recommendations, unnest(taste) AS t WHERE user_id = 1")
        (best,) = cursor.fetchone()
    for rank_by in get_args(RankBy):
        games = get(client, "/api/v1/users/1/recommendations", rank_by=rank_by, limit=100)["games"]
        assert {game["kind"] for game in games} <= {"personal", "popular"}
        personal = [game for game in games if game["kind"] == "personal"]
        assert personal
        for game in personal:
            assert game["match"] == pytest.approx(100 * math.exp(game["taste"] - best), abs=0.51)
            assert (game["because"] is not None) == game["reason"].startswith("because you liked ")
        for game in games:
            assert [game[name] is None for name in ("taste", "popularity", "match")] == [game not in personal] * 3
    visitors = get(client, "/api/v1/users/-1/recommendations")["games"]
    assert {(game["kind"], game["match"]) for game in visitors} == {("popular", None)}


def test_answers_at_once_match_the_best_of_all_games_whatever_the_filters(client: httpx.Client) -> None:
    history = {"history": [1, 5, 9], "popularity": 0, "limit": 100}
    games = client.post("/api/v1/recommend", json=history).json()["games"]
    matches = {game["game_id"]: game["match"] for game in games}
    filtered = client.post("/api/v1/recommend", json={**history, "include": ["Indie"]}).json()["games"]
    assert [game["match"] for game in filtered] == [matches[game["game_id"]] for game in filtered]
    assert all(0 <= match <= 100 for match in matches.values())
    popular = client.post("/api/v1/recommend", json={"history": []}).json()["games"]
    assert {(game["kind"], game["taste"], game["match"]) for game in popular} == {("popular", None, None)}


def test_every_row_of_games_has_the_same_fields(client: httpx.Client) -> None:
    shelves = get(client, "/api/v1/users/1/shelves")["shelves"]
    rows = {
        "shelves": [game for shelf in shelves for game in shelf["games"]],
        "live": get(client, "/api/v1/users/1/recommendations", popularity=0.5)["games"],
        "found": get(client, "/api/v1/games", q="game")["games"],
        "by id": get(client, "/api/v1/games", ids="7,3")["games"],
    }
    for games in rows.values():
        assert games
        assert all(set(game) == ROW for game in games)
    similar = get(client, "/api/v1/games/7/similar")["games"]
    assert all(set(game) == ROW | {"similarity"} for game in similar)
    assert {(game["kind"], game["because"]["game_id"]) for game in similar} == {("similar", 7)}
    assert [game["similarity"] for game in similar] == sorted((game["similarity"] for game in similar), reverse=True)
    for games in (rows["shelves"], rows["live"], similar):
        for game in games:
            if because := game["because"]:
                shared = f" ({', '.join(because['shared'])})" if because["shared"] else ""
                assert game["reason"].endswith(f" {because['name']}{shared}")
                assert set(because["shared"]) <= set(game["genres"])


def test_games_are_returned_by_their_ids(client: httpx.Client) -> None:
    games = get(client, "/api/v1/games", ids="7,999999,3,-5,7,9999999999")
    assert [(game["rank"], game["game_id"], game["name"]) for game in games["games"]] == [
        (1, 7, "Game 7"),
        (2, 3, "Game 3"),
    ]
    assert games["next"] is None
    many = ",".join(map(str, range(1, 102)))
    for ids in ("7;3", "a", "7,", many, "7, 3"):
        assert "at most 100 ids" in refused(client.get("/api/v1/games", params={"ids": ids}))


def test_genres_are_listed_with_the_number_of_their_games(published_shop: PublishedShop, client: httpx.Client) -> None:
    genres = get(client, "/api/v1/genres")["genres"]
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, count(*) FROM steam.game_genres JOIN steam.genres USING (genre_id) GROUP BY name")
        counted = dict(cursor.fetchall())
    assert {genre["name"]: genre["games"] for genre in genres if genre["games"]} == counted
    assert [genre["name"] for genre in genres] == sorted(genre["name"] for genre in genres)


def test_games_may_be_left_out(client: httpx.Client) -> None:
    path = "/api/v1/users/1/recommendations"
    for live in ({}, {"popularity": 0.5}):
        first = [game["game_id"] for game in get(client, path, limit=6, **live)["games"]]
        out = first[:2]
        left = get(client, path, limit=4, exclude_ids=",".join(map(str, out)), **live)["games"]
        assert [game["game_id"] for game in left] == first[2:]
    body = {"history": [1, 5], "limit": 6}
    first = [game["game_id"] for game in client.post("/api/v1/recommend", json=body).json()["games"]]
    left = client.post("/api/v1/recommend", json={**body, "limit": 4, "exclude_ids": first[:2]}).json()["games"]
    assert [game["game_id"] for game in left] == first[2:]


def pages(client: httpx.Client, path: str, rows: str, **query: Any) -> list[list[Any]]:
    """Return all pages of a list."""
    found = []
    cursor = ""
    while cursor is not None:
        answer = get(client, path, **query, **({"cursor": cursor} if cursor else {}))
        found.append(answer[rows])
        cursor = answer["next"]
    return found


@pytest.mark.parametrize(
    ("path", "rows", "key", "query"),
    [
        ("users/1/recommendations", "games", "game_id", {}),
        ("users/1/recommendations", "games", "game_id", {"popularity": 1}),
        ("users/1/recommendations", "games", "game_id", {"rank_by": "newest"}),
        ("users/1/recommendations", "games", "game_id", {"popularity": 0.9, "rank_by": "newest"}),
        ("users/1/history", "history", "game_id", {}),
        ("users", "users", "user_id", {"q": "user"}),
        ("games", "games", "game_id", {"q": "game"}),
        ("games", "games", "game_id", {}),
    ],
)
def test_cursors_lead_through_a_whole_list(
    client: httpx.Client, path: str, rows: str, key: str, query: dict[str, Any]
) -> None:
    limit = 10 if "rank_by" in query else 100  # an order sorts the games of the user's taste, and others after them
    whole = get(client, f"/api/v1/{path}", limit=limit, **query)[rows]
    found = [row for each in pages(client, f"/api/v1/{path}", rows, limit=2, **query) for row in each]
    assert [row[key] for row in found][: len(whole)] == [row[key] for row in whole]
    assert len({row[key] for row in found}) == len(found) > 2
    if "rank" in found[0]:
        assert [row["rank"] for row in found] == list(range(1, len(found) + 1))


def test_a_list_goes_on_after_another_publication_without_repeats(changing: PublishedShop) -> None:
    with serving(changing.settings(store=None)) as served:
        path = "/api/v1/users/1/recommendations"
        first = get(served.client, path)
        promote_random_model(changing.store, changing.folder / "model-2", "model-2", seed=1)
        run_inference("env:EXPLORER_OPERATOR_DATABASE_URL", changing.store, changing.folder)
        second = get(served.client, path, cursor=first["next"])
        assert second["version"] != first["version"]
        assert not {game["game_id"] for game in first["games"]} & {game["game_id"] for game in second["games"]}


def test_a_cursor_of_another_list_is_refused(client: httpx.Client) -> None:
    cursors = {
        path: get(client, f"/api/v1/{path}", limit=1)["next"]
        for path in ("users/1/recommendations", "users/1/history", "games")
    }
    for path in cursors:
        for cursor in {"a", "AAAA", *cursors.values()} - {cursors[path]}:
            answer = client.get(f"/api/v1/{path}", params={"cursor": cursor})
            assert "leave it out" in refused(answer, 409)
            assert answer.json()["code"] == "invalid_cursor"
        refused(client.get(f"/api/v1/{path}", params={"cursor": "%"}))


def test_problems_have_codes(published_shop: PublishedShop, client: httpx.Client) -> None:
    codes = {
        f"/api/v1/users/{USERS + 1}": "user_not_found",
        f"/api/v1/users/{USERS + 1}/history": "user_not_found",
        f"/api/v1/games/{GAMES + 1}": "game_not_found",
        f"/api/v1/games/{GAMES + 1}/similar": "game_not_found",
        "/api/v1/nothing": "not_found",
        "/api/v1/games?limit=0": "invalid_request",
    }
    assert {path: client.get(path).json()["code"] for path in codes} == codes
    assert {client.get(path).headers["cache-control"] for path in codes} == {"no-store"}
    assert client.post("/api/v1/recommend", content=b"{").json()["code"] == "invalid_json"
    assert client.put("/api/v1/users/1").json()["code"] == "method_not_allowed"
    with serving(published_shop.settings(store=None)) as served:
        assert served.client.get("/api/v1/games/7/similar").json()["code"] == "no_model"


def test_the_dial_answers_at_once_from_the_users_reviews(published_shop: PublishedShop, client: httpx.Client) -> None:
    path = f"/api/v1/users/{USERS + 1000}/recommendations"
    with published_shop.connection() as connection:
        assert get(client, path, popularity=0.2) == get(client, path, popularity=0.2)
        popular = get(client, path, popularity=0.2)["games"]
        user = add_user(connection, "newcomer")
        path = f"/api/v1/users/{user}/recommendations"
        assert get(client, path, popularity=0.2)["games"] == popular
        for game in (1, 5, 9):
            add_review(connection, user, game, recommended=game != 9)
        found = get(client, path, popularity=0.2)["games"]
        assert found != popular
        assert not {1, 5, 9} & {game["game_id"] for game in found}
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM steam.reviews WHERE user_id = %s", [user])
            cursor.execute("DELETE FROM steam.users WHERE user_id = %s", [user])


def test_genres_may_be_given_several_times(client: httpx.Client) -> None:
    def genres(game: dict[str, Any]) -> set[str]:
        return set(get(client, f"/api/v1/games/{game['game_id']}")["game"]["genres"])

    path = "/api/v1/users/1/recommendations?include=strategy&include=Indie&exclude=rpg"
    answer = get(client, path)
    assert answer["filters"]["include"] == ["strategy", "Indie"]
    assert answer["games"]
    assert all(genres(game) & {"Strategy", "Indie"} and "RPG" not in genres(game) for game in answer["games"])
    assert "given twice" in refused(client.get(f"{path}&limit=1&limit=2"))
    assert get(client, "/api/v1/users/1/recommendations?include=&exclude=")["filters"]["include"] == []


def test_shelves_are_the_rows_of_the_database_function(published_shop: PublishedShop, client: httpx.Client) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        for user in (1, USERS, 10**15):
            answer = get(client, f"/api/v1/users/{user}/shelves", shelves=5, games=4)
            assert (answer["user_id"], answer["version"]) == (user, published_shop.plan.version)
            cursor.execute("SELECT title, rank, game_id, name, reason FROM recsys.shelves(%s, 5, 4)", [user])
            rows = [
                (shelf["title"], game["rank"], game["game_id"], game["name"], game["reason"])
                for shelf in answer["shelves"]
                for game in shelf["games"]
            ]
            assert rows == cursor.fetchall()
            assert rows
            assert len({game for _, _, game, _, _ in rows}) == len(rows)
    for name, values in {"shelves": ["0", "21", "x"], "games": ["0", "101"]}.items():
        for value in values:
            assert refused(client.get("/api/v1/users/1/shelves", params={name: value})).startswith(f"{name}: ")


def test_unknown_users_get_popular_games(client: httpx.Client) -> None:
    for user in (10**15, -1, 2**63 - 1, -(2**63)):
        games = get(client, f"/api/v1/users/{user}/recommendations")["games"]
        assert {game["reason"] for game in games} == {"popular now"}
        assert len(games) == 10


def test_users_and_games_are_found_and_returned(client: httpx.Client) -> None:
    assert get(client, "/api/v1/users", q="user 1", limit=2)["users"][0]["username"] == "user 1"
    user = get(client, "/api/v1/users/1")
    assert (user["user_id"], user["username"]) == (1, "user 1")
    history = get(client, "/api/v1/users/1/history")
    assert history["user_id"] == 1
    assert 0 < len({review["game_id"] for review in history["history"]}) == len(history["history"]) <= user["reviews"]
    assert get(client, "/api/v1/games", q="game 7")["games"][0]["name"] == "Game 7"
    game = get(client, "/api/v1/games/7")
    assert game["game"]["name"] == "Game 7"
    assert 0 <= game["reach"]["share"] <= 1
    similar = get(client, "/api/v1/games/7/similar", limit=4)
    assert similar["game_id"] == 7
    assert len({found["game_id"] for found in similar["games"]} - {7}) == 4


def test_a_parameter_without_a_value_counts_as_left_out(client: httpx.Client) -> None:
    for path in ("/api/v1/games/7/similar", "/api/v1/users/1/history", "/api/v1/users/1/shelves", "/api/v1/games"):
        name = "games" if path.endswith("shelves") else "limit"
        assert get(client, path, **{name: ""}) == get(client, path)


def test_a_games_facts_are_returned_if_its_reach_cannot_be_counted(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(QUERIES, "reach", "SELECT 1 / 0 FROM no_such_table")
    with serving(published_shop.settings(store=None)) as served:
        game = get(served.client, "/api/v1/games/7")
        assert (game["game"]["name"], game["reach"]) == ("Game 7", None)
        described = served.client.get("/api/openapi.json").json()["components"]["schemas"]["GameDetails"]
    assert {"type": "null"} in described["properties"]["reach"]["anyOf"]


def test_unknown_users_games_and_paths_return_404(client: httpx.Client) -> None:
    for path in (
        f"/api/v1/users/{USERS + 1}",
        "/api/v1/users/-5",
        f"/api/v1/games/{GAMES + 1}",
        f"/api/v1/games/{GAMES + 1}/similar",
    ):
        assert "does not exist" in refused(client.get(path), 404)
    assert refused(client.get("/api/v1/nothing"), 404)
    assert refused(client.put("/api/v1/users/1"), 405)


@pytest.mark.parametrize(
    "number",
    [
        "9223372036854775808", "-9223372036854775809", "9" * 400, "1.5", "1e3", "NaN", "٣", "0x1", " 1", "+1", "--1",
        "-", "true", "1_0",
    ],
)  # fmt: skip
def test_invalid_ids_are_refused(client: httpx.Client, number: str) -> None:
    for path in (f"/api/v1/users/{number}/recommendations", f"/api/v1/users/{number}", f"/api/v1/games/{number}"):
        assert re.match("(user|game)_id: Input should be ", refused(client.get(path)))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("limit", ["0", "-1", "101", "1e1", "99999999999999999999", "NaN", "ten"]),
        ("rank_by", ["price", "Relevance", "relevance;", "null"]),
        ("os", ["dos", "Windows", "%"]),
        ("max_ram_gb", ["nan", "inf", "-inf", "-1", "1e400", "1e7", "much", "0x1p3"]),
        ("max_storage_gb", ["nan", "Infinity", "-0.1", "1e999"]),
        ("released_from", ["-1", "10000", "2020.5", "99999999999", "then"]),
        ("released_to", ["-1", "10000", "2020.0"]),
        ("genre", ["x" * 201, "nul\0", "\0"]),
        ("popularity", ["-0.1", "1.01", "nan", "inf", "much", "1e1"]),
        ("rank_by", ["interests", "popular"]),
    ],
)
def test_invalid_filters_are_refused_by_name(client: httpx.Client, name: str, values: list[str]) -> None:
    for value in values:
        assert refused(client.get("/api/v1/users/1/recommendations", params={name: value})).startswith(f"{name}: ")
        body = {"history": [], name: value}
        assert refused(client.post("/api/v1/recommend", json=body)).startswith(f"{name}: ")


def test_a_repeated_parameter_is_refused(client: httpx.Client) -> None:
    assert "given twice" in refused(client.get("/api/v1/users/1/recommendations?limit=1&limit=2"))


def test_an_unknown_parameter_is_refused(client: httpx.Client) -> None:
    sentence = refused(client.get("/api/v1/users/1/recommendations", params={"max_ram": 8}))
    assert "max_ram_gb" in sentence
    assert "<b>" not in refused(client.get("/api/v1/users", params={"<b>": 8}))
    assert refused(client.post("/api/v1/recommend", json={"history": [], "max_ram": 8}))
    assert refused(client.post("/api/v1/recommend", json={"history": [{"game_id": 1, "hour": 8}]}))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b'{"history": [NaN]}', b'{"history": {}}', b'{"history": "1,2"}',
        b'{"history": [1.5]}', b'{"history": [true]}', b'{"history": [null]}', b'{"history": [[1]]}',
        b'{"history": [99999999999]}', b'{"history": [{}]}', b'{"history": [{"game_id": 1, "recommended": 1}]}',
        b'{"history": [{"game_id": 1, "hours": -1}]}', b'{"history": [{"game_id": 1, "hours": 1e300}]}',
        b'{"history": [{"game_id": 1, "hours": "a"}]}', b'{"history": [], "limit": true}',
        b'{"history": [], "limit": 1.5}',
        b'{"history": [], "popularity": true}', b'{"history": [], "include": "RPG"}',
        b'{"history": [], "exclude": [5]}',
        b'{"history": [], "include": ["a\\u0000"]}', b'{"history": [], "include": [' + b'"RPG",' * 20 + b'"RPG"]}',
        b'{"history": [], "genre": 5}', b'{"history": [], "genre": "\\ud800"}', b'{"history": [], "os": []}',
        b'{"history": [], "max_ram_gb": {}}', b'{"history": [], "max_ram_gb": true}',
        b'{"history": [' + b"1," * 1000 + b"1]}",
    ],
)  # fmt: skip
def test_invalid_bodies_are_refused(client: httpx.Client, body: bytes) -> None:
    try:
        json.loads(body)
        status = 422
    except ValueError:
        status = 400 if body else 422
    refused(client.post("/api/v1/recommend", content=body, headers={"content-type": "application/json"}), status)


def test_a_history_takes_ids_or_objects_and_ignores_unknown_games(client: httpx.Client) -> None:
    def games(history: list[Any], **filters: Any) -> list[int]:
        answer = client.post("/api/v1/recommend", json={"history": history, **filters})
        assert answer.status_code == 200, answer.text
        return [game["game_id"] for game in answer.json()["games"]]

    assert games([1, 2]) == games([{"game_id": 1}, {"game_id": 2, "recommended": True, "hours": None}])
    assert games([1, 2]) == games([10**9, 1.0, -5, 2])
    assert games([1, 2]) != games([1, {"game_id": 2, "recommended": False}])
    assert len(games([1, 2], limit=100)) > 50
    assert not {1, 2} & set(games([1, 2], limit=100))


def test_a_known_etag_returns_304(client: httpx.Client, published_shop: PublishedShop) -> None:
    first = client.get("/api/v1/users/1/recommendations")
    etag = first.headers["etag"]
    assert etag.startswith(f'"{published_shop.plan.version}-')
    assert client.get("/api/v1/users/1/recommendations", headers={"if-none-match": "*, nothing"}).status_code == 200
    for known in (etag, f'"other", W/{etag}', f"W/{etag}", "*"):
        again = client.get("/api/v1/users/1/recommendations", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    two_lines = [("if-none-match", '"other"'), ("if-none-match", etag)]
    assert client.get("/api/v1/users/1/recommendations", headers=two_lines).status_code == 304
    assert client.get(f"/api/v1/users/{USERS + 1}", headers={"if-none-match": "*"}).status_code == 404
    other = client.get("/api/v1/users/2/recommendations", headers={"if-none-match": etag})
    assert other.status_code == 200
    assert other.headers["etag"] != etag


def test_a_post_ignores_known_etags(client: httpx.Client) -> None:
    first = client.post("/api/v1/recommend", json={"history": [1]})
    for known in (first.headers["etag"], "*"):
        again = client.post("/api/v1/recommend", json={"history": [1]}, headers={"if-none-match": known})
        assert (again.status_code, again.json(), again.headers["etag"]) == (200, first.json(), first.headers["etag"])


def test_the_etag_changes_with_the_publication_and_with_the_users_reviews(changing: PublishedShop) -> None:
    with serving(changing.settings()) as served:
        path = "/api/v1/users/1/recommendations"
        first = served.client.get(path)
        with changing.connection() as connection:
            add_review(connection, 1, first.json()["games"][0]["game_id"])
        reviewed = served.client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert reviewed.status_code == 200
        promote_random_model(changing.store, changing.folder / "model-2", "model-2", seed=1)
        plan = run_inference("env:EXPLORER_OPERATOR_DATABASE_URL", changing.store, changing.folder)
        published = served.client.get(path, headers={"if-none-match": reviewed.headers["etag"]})
        assert published.status_code == 200
        assert published.json()["version"] == plan.version
        assert published.headers["etag"].startswith(f'"{plan.version}-')


def test_before_the_first_publication_the_api_returns_503(postgres: Any, published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(database_url=postgres.url())) as served:
        for path in ("/api/v1/users/1/recommendations", "/api/v1/users?q=a", "/api/v1/games/1", "/readyz"):
            answer = served.client.get(path)
            assert answer.status_code == 503
            assert refused(answer, 503) == "Nothing has been published yet: run the inference pipeline first."
        assert served.client.get("/healthz").text == "ok\n"


def test_openapi_and_the_api_page_have_every_operation(served: RunningExplorer) -> None:
    described = served.client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        f"/api/v1/{path}"
        for path in (
            "users/{user_id}/recommendations", "users/{user_id}/shelves", "users/{user_id}/history", "users/{user_id}",
            "users", "recommend", "games/{game_id}/similar", "games/{game_id}", "games", "genres", "rollback",
        )
    }  # fmt: skip
    page = served.client.get("/api")
    assert page.status_code == 200
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in page.text
            assert operation["summary"] in page.text
            for parameter in operation.get("parameters", []):
                assert parameter["name"] in page.text
    assert "<script" not in page.text
    assert " style=" not in page.text


def test_openapi_has_the_configured_largest_limit(published_shop: PublishedShop, served: RunningExplorer) -> None:
    def largest(served: RunningExplorer) -> list[int]:
        found = []
        described = served.client.get("/api/openapi.json").json()
        for methods in described["paths"].values():
            for operation in methods.values():
                found += [
                    each["schema"]["maximum"] for each in operation.get("parameters", []) if each["name"] == "limit"
                ]
        found += [
            schema["properties"]["limit"]["maximum"]
            for name, schema in described["components"]["schemas"].items()
            if name == "History"
        ]
        return found

    with serving(published_shop.settings(store=None, largest_limit=250)) as other:
        assert largest(other) == [250] * 6
        assert other.client.get("/api/v1/users", params={"q": "user", "limit": 250}).status_code == 200
        assert "from 1 to 250" in other.client.get("/api").text
    assert largest(served) == [100] * 6


def test_openapi_has_errors_of_bodies_only_for_operations_with_a_body(served: RunningExplorer) -> None:
    for methods in served.app.openapi()["paths"].values():
        for operation in methods.values():
            refused = {"408", "413"} & set(operation["responses"])
            assert refused == ({"408", "413"} if "requestBody" in operation else set())


def shape(content: Any) -> Any:
    """Return the names in a JSON value; for a list, those of its first element."""
    if isinstance(content, dict):
        # A game may have no reason that names another one, and no genres.
        return {name: None if name in ("because", "genres") else shape(value) for name, value in content.items()}
    return [shape(each) for each in content[:1]] if isinstance(content, list) else None


def asked(client: httpx.Client, line: str) -> httpx.Response:
    """Send the request of a `curl` command."""
    program, url, *options = shlex.split(line)
    assert program == "curl"
    if not options:
        return client.get(url)
    flag, body = options
    assert flag == "--json"
    return client.post(url, content=body, headers={"content-type": "application/json"})


def test_examples_work_and_return_the_documented_fields(client: httpx.Client) -> None:
    shown = page(client, "/api")
    lines = [text for text in shown.texts if text.startswith("curl ")]
    answers = [json.loads(text) for text in shown.texts if text.startswith("{\n")]
    assert answers == [RECOMMENDATIONS_EXAMPLE, SHELVES_EXAMPLE, LIVE_EXAMPLE]
    assert len(lines) == len(answers)
    for line, answer in zip(lines, answers, strict=True):
        assert str(client.base_url) in line
        found = asked(client, line)
        assert found.status_code == 200, found.text
        assert shape(found.json()) == shape(answer)
        listed = "shelves" if "shelves" in answer else "games"
        assert len(found.json()[listed]) == len(answer[listed])


def test_openapi_has_the_examples(client: httpx.Client) -> None:
    openapi = client.get("/api/openapi.json").json()
    paths, schemas = openapi["paths"], openapi["components"]["schemas"]
    for operation, answer in (
        (paths["/api/v1/users/{user_id}/recommendations"]["get"], RECOMMENDATIONS_EXAMPLE),
        (paths["/api/v1/users/{user_id}/shelves"]["get"], SHELVES_EXAMPLE),
        (paths["/api/v1/recommend"]["post"], LIVE_EXAMPLE),
    ):
        content = operation["responses"]["200"]["content"]["application/json"]
        assert content["example"] == answer
        assert "$ref" in content["schema"]
    body = paths["/api/v1/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schemas[body["$ref"].rpartition("/")[2]]["examples"] == [HISTORY_EXAMPLE]


def test_every_field_of_a_body_is_described(client: httpx.Client) -> None:
    shown = page(client, "/api")
    for text in (
        "user_id The user's id. integer of 64 bits",
        "history[].game_id The game's id. integer of 32 bits",
        "history[].recommended Whether the user recommends the game. boolean; default true",
        "history[].hours How long the user has played it; null if unknown. number or null from 0",
        "array of at most 1000",
        "version A kept publication; by default the one before the current one. string or null",
    ):
        assert text in shown.text
    assert "query string" not in shown.text
    assert shown.text.count("Not known to need more storage.") == 2


def test_the_api_page_lists_the_probes_and_metrics(client: httpx.Client) -> None:
    told = re.findall(r"GET (/\w+)(?= )", Page(client.get("/api")).text)
    assert told == ["/healthz", "/readyz", "/metrics"]
    assert all(client.get(path).is_success for path in told)


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", None])
def test_a_posted_history_is_read_as_json_whatever_its_content_type(
    client: httpx.Client, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert client.post("/api/v1/recommend", content=b'{"history": []}', headers=headers).status_code == 200
