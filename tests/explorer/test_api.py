"""The JSON API over HTTP, and its page of documentation."""

import json
import re
import shlex
from http import HTTPStatus
from typing import Any, get_args

import httpx
import pytest

from explorer.filters import RankBy
from explorer.schemas import HISTORY_EXAMPLE, LIVE_EXAMPLE, RECOMMENDATIONS_EXAMPLE, SHELVES_EXAMPLE
from tests.explorer.conftest import PublishedShop, RunningExplorer, serving
from tests.explorer.parsed_page import Page, page
from tests.explorer.publishing_runs import GAMES, USERS, promote_random_model, run_inference
from tests.shop import add_review, add_user


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def refused(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["detail"].endswith(".")
    assert "\n" not in problem["detail"]
    return str(problem["detail"])


def test_recommendations_are_complete_and_name_their_publication(
    published_shop: PublishedShop, client: httpx.Client
) -> None:
    answer = get(client, "/api/users/1/recommendations", rank_by="newest", limit=3, max_ram_gb=8, genre="")
    assert answer["version"] == published_shop.plan.version
    assert answer["user_id"] == 1
    assert answer["filters"] == {
        "rank_by": "newest", "genre": None, "released_from": None, "released_to": None, "max_ram_gb": 8.0,
        "max_storage_gb": None, "os": None, "popularity": 1.0, "include": [], "exclude": [], "limit": 3,
    }  # fmt: skip
    assert [game["rank"] for game in answer["games"]] == [1, 2, 3]
    assert set(answer["games"][0]) == {
        "rank", "game_id", "game", "score", "taste", "popularity", "reason", "because",
    }  # fmt: skip


def test_a_personal_score_is_the_sum_of_taste_and_popularity(client: httpx.Client) -> None:
    for rank_by in get_args(RankBy):
        games = get(client, "/api/users/1/recommendations", rank_by=rank_by, limit=100)["games"]
        personal = [game for game in games if game["taste"] is not None]
        assert personal
        for game in personal:
            assert game["score"] == pytest.approx(game["taste"] + game["popularity"], abs=1e-5)
            assert (game["because"] is not None) == game["reason"].startswith("because you liked ")
    (visitors,) = {game["taste"] for game in get(client, "/api/users/-1/recommendations")["games"]}
    assert visitors is None


def test_the_dial_answers_at_once_from_the_users_reviews(published_shop: PublishedShop, client: httpx.Client) -> None:
    path = f"/api/users/{USERS + 1000}/recommendations"
    with published_shop.connection() as connection:
        assert get(client, path, popularity=0.2) == get(client, path, popularity=0.2)
        popular = get(client, path, popularity=0.2)["games"]
        user = add_user(connection, "newcomer")
        path = f"/api/users/{user}/recommendations"
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
        return set(get(client, f"/api/games/{game['game_id']}")["game"]["genres"])

    path = "/api/users/1/recommendations?include=strategy&include=Indie&exclude=rpg"
    answer = get(client, path)
    assert answer["filters"]["include"] == ["strategy", "Indie"]
    assert answer["games"]
    assert all(genres(game) & {"Strategy", "Indie"} and "RPG" not in genres(game) for game in answer["games"])
    assert "given twice" in refused(client.get(f"{path}&limit=1&limit=2"))
    assert get(client, "/api/users/1/recommendations?include=&exclude=")["filters"]["include"] == []


def test_shelves_are_the_rows_of_the_database_function(published_shop: PublishedShop, client: httpx.Client) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        for user in (1, USERS, 10**15):
            answer = get(client, f"/api/users/{user}/shelves", shelves=5, games=4)
            assert (answer["user_id"], answer["version"]) == (user, published_shop.plan.version)
            cursor.execute("SELECT title, rank, game_id, game, reason FROM recsys.shelves(%s, 5, 4)", [user])
            rows = [
                (shelf["title"], game["rank"], game["game_id"], game["game"], game["reason"])
                for shelf in answer["shelves"]
                for game in shelf["games"]
            ]
            assert rows == cursor.fetchall()
            assert rows
            assert len({game for _, _, game, _, _ in rows}) == len(rows)
    for name, values in {"shelves": ["0", "21", "x"], "games": ["0", "101"]}.items():
        for value in values:
            assert refused(client.get("/api/users/1/shelves", params={name: value})).startswith(f"{name}: ")


def test_unknown_users_get_popular_games(client: httpx.Client) -> None:
    for user in (10**15, -1, 2**63 - 1, -(2**63)):
        games = get(client, f"/api/users/{user}/recommendations")["games"]
        assert {game["reason"] for game in games} == {"popular now"}
        assert len(games) == 10


def test_users_and_games_are_found_and_returned(client: httpx.Client) -> None:
    assert get(client, "/api/users", q="user 1", limit=2)["users"][0]["username"] == "user 1"
    user = get(client, "/api/users/1")
    assert user["user"]["user_id"] == 1
    assert len(user["history"]) == user["user"]["reviews"] > 0
    assert get(client, "/api/games", q="game 7")["games"][0] == {"game_id": 7, "name": "Game 7"}
    game = get(client, "/api/games/7")
    assert game["game"]["name"] == "Game 7"
    assert 0 <= game["audience"]["share"] <= 1
    similar = get(client, "/api/games/7/similar", limit=4)
    assert similar["game_id"] == 7
    assert len({found["game_id"] for found in similar["games"]} - {7}) == 4


def test_unknown_users_games_and_paths_return_404(client: httpx.Client) -> None:
    for path in (
        f"/api/users/{USERS + 1}",
        "/api/users/-5",
        f"/api/games/{GAMES + 1}",
        f"/api/games/{GAMES + 1}/similar",
    ):
        assert "does not exist" in refused(client.get(path), 404)
    assert refused(client.get("/api/nothing"), 404)
    assert refused(client.put("/api/users/1"), 405)


@pytest.mark.parametrize(
    "number",
    [
        "9223372036854775808", "-9223372036854775809", "9" * 400, "1.5", "1e3", "NaN", "٣", "0x1", " 1", "+1", "--1",
        "-", "true", "1_0",
    ],
)  # fmt: skip
def test_invalid_ids_are_refused(client: httpx.Client, number: str) -> None:
    for path in (f"/api/users/{number}/recommendations", f"/api/users/{number}", f"/api/games/{number}"):
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
        assert refused(client.get("/api/users/1/recommendations", params={name: value})).startswith(f"{name}: ")
        body = {"history": [], name: value}
        assert refused(client.post("/api/recommend", json=body)).startswith(f"{name}: ")


def test_a_repeated_parameter_is_refused(client: httpx.Client) -> None:
    assert "given twice" in refused(client.get("/api/users/1/recommendations?limit=1&limit=2"))


def test_an_unknown_parameter_is_refused(client: httpx.Client) -> None:
    sentence = refused(client.get("/api/users/1/recommendations", params={"max_ram": 8}))
    assert "max_ram_gb" in sentence
    assert "<b>" not in refused(client.get("/api/users", params={"<b>": 8}))
    assert refused(client.post("/api/recommend", json={"history": [], "max_ram": 8}))
    assert refused(client.post("/api/recommend", json={"history": [{"game_id": 1, "hour": 8}]}))


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
    refused(client.post("/api/recommend", content=body, headers={"content-type": "application/json"}), status)


def test_a_history_takes_ids_or_objects_and_ignores_unknown_games(client: httpx.Client) -> None:
    def games(history: list[Any], **filters: Any) -> list[int]:
        answer = client.post("/api/recommend", json={"history": history, **filters})
        assert answer.status_code == 200, answer.text
        return [game["game_id"] for game in answer.json()["games"]]

    assert games([1, 2]) == games([{"game_id": 1}, {"game_id": 2, "recommended": True, "hours": None}])
    assert games([1, 2]) == games([10**9, 1.0, -5, 2])
    assert games([1, 2]) != games([1, {"game_id": 2, "recommended": False}])
    assert len(games([1, 2], limit=100)) > 50
    assert not {1, 2} & set(games([1, 2], limit=100))


def test_a_known_etag_returns_304(client: httpx.Client, published_shop: PublishedShop) -> None:
    first = client.get("/api/users/1/recommendations")
    etag = first.headers["etag"]
    assert etag.startswith(f'"{published_shop.plan.version}-')
    assert client.get("/api/users/1/recommendations", headers={"if-none-match": "*, nothing"}).status_code == 200
    for known in (etag, f'"other", W/{etag}', f"W/{etag}", "*"):
        again = client.get("/api/users/1/recommendations", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    two_lines = [("if-none-match", '"other"'), ("if-none-match", etag)]
    assert client.get("/api/users/1/recommendations", headers=two_lines).status_code == 304
    assert client.get(f"/api/users/{USERS + 1}", headers={"if-none-match": "*"}).status_code == 404
    other = client.get("/api/users/2/recommendations", headers={"if-none-match": etag})
    assert other.status_code == 200
    assert other.headers["etag"] != etag


def test_a_post_ignores_known_etags(client: httpx.Client) -> None:
    first = client.post("/api/recommend", json={"history": [1]})
    for known in (first.headers["etag"], "*"):
        again = client.post("/api/recommend", json={"history": [1]}, headers={"if-none-match": known})
        assert (again.status_code, again.json(), again.headers["etag"]) == (200, first.json(), first.headers["etag"])


def test_the_etag_changes_with_the_publication_and_with_the_users_reviews(changing: PublishedShop) -> None:
    with serving(changing.settings()) as served:
        path = "/api/users/1/recommendations"
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
        for path in ("/api/users/1/recommendations", "/api/users?q=a", "/api/games/1", "/readyz"):
            answer = served.client.get(path)
            assert answer.status_code == 503
            assert refused(answer, 503) == "Nothing has been published yet: run the inference pipeline first."
        assert served.client.get("/healthz").text == "ok\n"


def test_openapi_and_the_api_page_have_every_operation(served: RunningExplorer) -> None:
    described = served.client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/users/{user_id}/recommendations", "/api/users/{user_id}/shelves", "/api/recommend",
        "/api/games/{game_id}/similar", "/api/users", "/api/users/{user_id}", "/api/games", "/api/games/{game_id}",
        "/api/rollback",
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
        assert largest(other) == [250] * 5
        assert other.client.get("/api/users", params={"q": "user", "limit": 250}).status_code == 200
        assert "from 1 to 250" in other.client.get("/api").text
    assert largest(served) == [100] * 5


def test_openapi_has_errors_of_bodies_only_for_operations_with_a_body(served: RunningExplorer) -> None:
    for methods in served.app.openapi()["paths"].values():
        for operation in methods.values():
            refused = {"408", "413"} & set(operation["responses"])
            assert refused == ({"408", "413"} if "requestBody" in operation else set())


def shape(content: Any) -> Any:
    """Return the names in a JSON value; for a list, those of its first element."""
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
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
        (paths["/api/users/{user_id}/recommendations"]["get"], RECOMMENDATIONS_EXAMPLE),
        (paths["/api/users/{user_id}/shelves"]["get"], SHELVES_EXAMPLE),
        (paths["/api/recommend"]["post"], LIVE_EXAMPLE),
    ):
        content = operation["responses"]["200"]["content"]["application/json"]
        assert content["example"] == answer
        assert "$ref" in content["schema"]
    body = paths["/api/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
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
    assert client.post("/api/recommend", content=b'{"history": []}', headers=headers).status_code == 200
