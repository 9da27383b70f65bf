"""The pages over HTTP: what they show, and where their forms and links lead."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from explorer.app import FOLDER
from explorer.pages import with_recommendation_counts
from explorer.schemas import Because, GameCard, Review
from explorer.settings import Settings
from explorer.templating import asset, day
from tests.explorer.conftest import PublishedShop, serving
from tests.explorer.parsed_page import Page, page
from tests.explorer.publishing_runs import USERS

PATHS = (
    "/",
    "/users",
    "/users?q=user",
    "/users/1",
    "/games",
    "/games?q=game",
    "/games/7",
    "/try",
    "/try?games=1,2&q=7",
    "/overview",
    "/api",
    "/nothing",
    "/users/1?rank_by=fame",
)


def recommended(client: httpx.Client, path: str, **query: object) -> list[str]:
    games = client.get(f"/api/v1{path}/recommendations", params=query).json()["games"]
    return [f"/games/{game['game_id']}" for game in games]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_has_one_heading_the_navigation_and_nothing_inline(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    shown = Page(answer, answer.status_code)
    assert len(shown.all("h1")) == len(shown.all("main")) == len(shown.all("nav", aria_label="Main")) == 1
    assert {"/users", "/try", "/games", "/overview", "/api"} <= set(shown.links("/"))
    assert shown.links("#content") == ["#content"]
    assert shown.all("html", lang="en")
    assert not shown.all("style")
    assert [script for script in shown.all("script") if "src" not in script] == []
    assert [name for tag, each in shown.elements for name in each if name == "style" or name.startswith("on")] == []
    ids = [each["id"] for _, each in shown.elements if "id" in each]
    assert len(ids) == len(set(ids))


def test_addresses_of_static_files_change_with_their_content(client: httpx.Client) -> None:
    for name, kind in (("explorer.css", "text/css"), ("explorer.js", "javascript")):
        answer = client.get(asset(name))
        assert kind in answer.headers["content-type"]
        assert answer.content == (FOLDER / "static" / name).read_bytes()
        assert re.fullmatch(rf"/static/{re.escape(name)}\?[0-9a-f]{{12}}", asset(name))


def test_users_are_found_by_name_and_by_id(client: httpx.Client) -> None:
    assert page(client, "/users", q="user 1").links("/users/")[0] == "/users/1"
    assert page(client, "/users", q="7").links("/users/") == ["/users/7"]
    shown = page(client, "/users", q="an unknown name")
    assert "No user is called an unknown name" in shown.text
    assert shown.fields()["q"] == "an unknown name"
    assert "/someone/new" in shown.links("/")


@pytest.mark.parametrize(("kind", "least", "most"), [("many-reviews", 2, 10**6), ("one-review", 1, 1), ("new", 0, 0)])
def test_links_lead_to_a_random_user_of_each_kind(client: httpx.Client, kind: str, least: int, most: int) -> None:
    assert f"/someone/{kind}" in page(client, "/").links("/")
    answer = client.get(f"/someone/{kind}")
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    user = client.get(f"/api/v1{answer.headers['location']}").json()
    assert least <= user["reviews"] <= most


def test_without_a_new_user_an_empty_history_is_shown(changing: PublishedShop) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.reviews (user_id, game_id, recommended) SELECT user_id, 1, true FROM steam.users"
        )
    with serving(changing.settings()) as served:
        assert served.client.get("/someone/new").headers["location"] == "/try"


def test_a_users_page_shows_history_recommendations_and_reasons(client: httpx.Client) -> None:
    shown = page(client, "/users/1")
    assert "user 1" in shown.text
    assert [link for link in shown.links("/games/") if link in recommended(client, "/users/1")][:10] == recommended(
        client, "/users/1"
    )
    history = client.get("/api/v1/users/1/history").json()["history"]
    for reviewed in history:
        assert f"/games/{reviewed['game_id']}" in shown.links("/games/")
    assert shown.text.count("Liked") == sum(reviewed["recommended"] for reviewed in history)
    for game in client.get("/api/v1/users/1/recommendations").json()["games"]:
        assert game["reason"] in shown.text


def test_recommendations_are_counted_once_per_named_game() -> None:
    names = {1: "Portal", 2: "popular now", 3: "Portal 2"}
    history = [Review(number, names[number], True, None, None) for number in (1, 2, 3)]
    games = [game_of(rank, because) for rank, because in enumerate([1, None, 1, None], start=1)]
    assert [led_to for _, led_to in with_recommendation_counts(history, games)] == [2, 0, 0]
    games.append(game_of(5, 2))
    assert [led_to for _, led_to in with_recommendation_counts(history, games)] == [2, 1, 0]


def test_recommendation_counts_add_up_to_the_reasons(client: httpx.Client) -> None:
    for user in range(1, USERS - 2):
        games = client.get(f"/api/v1/users/{user}/recommendations").json()["games"]
        because = sum(game["reason"].startswith("because") for game in games)
        counts = re.findall(r"led to (\d+) of these", page(client, f"/users/{user}").text)
        assert sum(map(int, counts)) == because


def test_the_form_has_the_addresss_filters(client: httpx.Client) -> None:
    query = {"rank_by": "newest", "genre": "Indie", "released_from": "2018", "released_to": "2024",
             "max_ram_gb": "4.25", "max_storage_gb": "100", "os": "linux", "limit": "3"}  # fmt: skip
    shown = page(client, "/users/2", **query)
    assert shown.fields() == query
    assert shown.links("/games/")[:1] == recommended(client, "/users/2", **query)[:1]
    again = page(client, "/users/2", **shown.fields())
    assert again.texts == shown.texts


def test_each_filter_has_a_link_that_removes_it(client: httpx.Client) -> None:
    query = {"genre": "Indie", "released_from": "2018", "max_ram_gb": "4", "rank_by": "newest"}
    links = [link for link in page(client, "/users/2", **query).links("/users/2?") if "limit" not in link]
    left = [{name: values[0] for name, values in parse_qs(urlsplit(link).query).items()} for link in links]
    for name in ("genre", "released_from", "max_ram_gb"):
        assert {key: value for key, value in query.items() if key != name} in left


def test_active_filters_show_their_values(client: httpx.Client) -> None:
    query = {"genre": "Indie", "released_from": "2012", "released_to": "2015", "max_ram_gb": "8",
             "max_storage_gb": "16.5", "os": "linux"}  # fmt: skip
    for path in ("/users/2", "/try"):
        shown = page(client, path, **query)
        for name in ("Indie", "from 2012", "until 2015", "8 GB of RAM", "16.5 GB of storage", "Linux"):
            assert f"{name} : remove this filter" in shown.text
        for claim in ("runs", "fits"):
            assert claim not in shown.text
        assert shown.text.count("Games whose year, memory, storage or system is unknown are shown, too.") == 1


def test_genres_ignore_case_and_unknown_ones_stay(client: httpx.Client) -> None:
    assert page(client, "/users/1", genre="indie").fields()["genre"] == "Indie"
    assert page(client, "/users/1", genre="No such").fields()["genre"] == "No such"


def test_filters_that_exclude_every_game_can_be_removed(client: httpx.Client) -> None:
    for path in ("/users/1", "/try"):
        shown = page(client, path, genre="No such genre", rank_by="newest")
        assert "No game passes these filters. Remove one of them" in shown.text
        assert f"{path}?rank_by=newest" in shown.links(path)


def test_links_show_more_games_up_to_the_largest_limit(client: httpx.Client) -> None:
    path = "/users/1?rank_by=newest"
    limits = []
    while more := [link for link in page(client, path).links("/users/1?") if "limit=" in link]:
        path = more[0]
        limits.append(int(parse_qs(urlsplit(path).query)["limit"][0]))
        assert "rank_by=newest" in path
    assert limits[:2] == [20, 40]
    assert limits[-1] <= 100


def test_a_user_without_reviews_gets_popular_games(client: httpx.Client) -> None:
    shown = page(client, f"/users/{USERS}")
    assert "No reviews yet" in shown.text
    assert "popular now" in shown.text


def test_a_list_shows_how_well_each_game_matches(client: httpx.Client) -> None:
    games = client.get("/api/v1/users/1/recommendations").json()["games"]
    shown = page(client, "/users/1")
    assert [int(percent) for percent in re.findall(r"Match (\d+) %", shown.text)] == [game["match"] for game in games]
    lengths = [float(bar["width"] or 0) for bar in shown.all("rect") if "data-length" in bar]
    assert lengths == [game["match"] for game in games]
    assert not re.search(r"\d\.\d{3}", shown.text)


def test_games_ordered_by_release_show_their_day(published_shop: PublishedShop, client: httpx.Client) -> None:
    path = "/users/1?rank_by=newest&limit=100"
    games = client.get(f"/api/v1{path.replace('?', '/recommendations?')}").json()["games"]
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT game_id, released_on FROM steam.games")
        released = dict(cursor.fetchall())
    days = re.findall(r"Released (–|\d+ \w+ \d+)", page(client, path).text)
    assert days == [day(released[game["game_id"]]) for game in games]
    assert days[0] != days[-1] == "–"
    assert not re.search(r"Released (–|\d)", page(client, "/users/1").text)


def test_a_game_shows_facts_similar_games_and_reach(client: httpx.Client) -> None:
    path = recommended(client, "/users/1")[0]
    shown = page(client, path)
    similar = client.get(f"/api/v1{path}/similar?limit=12").json()["games"]
    assert shown.links("/games/") == [f"/games/{game['game_id']}" for game in similar]
    known = client.get(f"/api/v1{path}").json()
    assert f"{100 * known['reach']['share']:.1f} %" in shown.text
    assert all(genre in shown.text for genre in known["game"]["genres"])
    assert path.replace("/games/", "/try?games=") in shown.links("/try")


@pytest.mark.parametrize(
    ("link", "href"),
    [
        ("https://shop.example/7", ["https://shop.example/7"]),
        ("HTTP://shop.example/7", ["HTTP://shop.example/7"]),
        ("javascript:alert(1)", []),
        (" javascript:alert(1)//http://", []),
        ("data:text/html,<script>alert(1)</script>", []),
        ("//elsewhere.example", []),
        (None, []),
    ],
)
def test_only_web_links_of_a_game_are_shown(changing: PublishedShop, link: str | None, href: list[str]) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET link = %s WHERE game_id = 7", [link])
    with serving(changing.settings()) as served:
        hrefs = [each.get("href") or "" for each in page(served.client, "/games/7").all("a")]
    assert [each for each in hrefs if not each.startswith(("/", "#"))] == href


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/nothing", 404, "This page does not exist."),
        ("/users/999999", 404, "This user does not exist"),
        ("/games/999999", 404, "This game does not exist"),
        ("/someone/else", 404, "This kind of user does not exist"),
        ("/users/unknown", 422, "user_id: Input should be a valid integer"),
        ("/users/1?rank_by=fame", 422, "rank_by: Input should be 'relevance', 'discovery'"),
        ("/users/1?limit=101", 422, "limit: Input should be less than or equal to 100"),
        ("/try?games=one", 422, "games.0: Input should be a valid integer"),
        (f"/try?games={','.join(map(str, range(101)))}", 422, "games: List should have at most 100 items"),
        (f"/games?q={'x' * 201}", 422, "q: String should have at most 200 characters"),
    ],
)
def test_an_error_page_says_what_is_wrong(client: httpx.Client, path: str, status: int, sentence: str) -> None:
    shown = page(client, path, status)
    assert sentence in shown.text
    assert "/" in shown.links("/")
    assert "Try again" not in shown.text


@pytest.mark.parametrize(
    ("path", "status", "way"),
    [
        ("/users/999999", 404, "/users"),
        ("/users/unknown", 422, "/users"),
        ("/someone/else", 404, "/users"),
        ("/games/999999", 404, "/games"),
        ("/games/one?q=1", 422, "/games"),
        ("/users/1?rank_by=fame&genre=Indie&limit=20", 422, "/users/1?genre=Indie&limit=20"),
        ("/users/1?limit=0", 422, "/users/1"),
        ("/try?games=3,7&released_to=soon", 422, "/try?games=3,7"),
        ("/try?games=3,one&os=linux", 422, "/try?os=linux"),
        (f"/games?q={'x' * 201}", 422, "/games"),
    ],
)
def test_an_error_page_links_to_a_working_page(client: httpx.Client, path: str, status: int, way: str) -> None:
    shown = page(client, path, status)
    assert "/api/" not in shown.text
    assert way in [link["href"] for link in shown.all("a", **{"class": "button second"})]
    assert client.get(way).status_code == 200


def test_without_the_database_pages_offer_to_try_again() -> None:
    with serving(Settings(database_url="postgresql://unknown@127.0.0.1:1/nothing")) as served:
        for path in ("/", "/users/1", "/games/1", "/try", "/overview"):
            shown = page(served.client, path, 503)
            assert "The database cannot be reached: try again in a moment." in shown.text
            assert "Try again" in shown.text


def test_a_history_is_built_by_links(client: httpx.Client) -> None:
    search = page(client, "/try", games="3", q="game 7")
    added = next(link["href"] for link in search.all("a", data_add="7"))
    assert added == "/try?games=3,7&q=game+7"
    shown = page(client, added)
    assert [row["data-game"] for row in shown.all("li") if row.get("data-game")] == ["3", "7"]
    answer = client.post("/api/v1/recommend", json={"history": [3, 7]}).json()["games"]
    assert [link for link in shown.links("/games/") if link not in ("/games/", "/games/3", "/games/7")][-10:] == [
        f"/games/{game['game_id']}" for game in answer
    ]
    assert shown.all("a", data_add="7")[0]["aria-disabled"] == "true"
    removed = next(link["href"] for link in shown.all("a", data_remove="3"))
    assert removed == "/try?games=7&q=game+7"


def test_searching_and_filtering_keep_the_history(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,7", genre="Indie", q="game 8")
    assert [each["value"] for each in shown.all("input", name="games")] == ["3,7", "3,7"]
    assert {"type": "hidden", "name": "genre", "value": "Indie"} in shown.all("input", name="genre")
    assert {"type": "hidden", "name": "q", "value": "game 8"} in shown.all("input", name="q")
    kept = [link["href"] for link in shown.all("a") if "data-kept" in link]
    assert kept
    assert all("games=3,7" in href and "q=game+8" in href for href in kept)


def test_a_long_search_result_links_to_all_games(client: httpx.Client) -> None:
    shown = page(client, "/try", q="game 1")  # 1 and 10 to 19
    assert "The first 6: show all games with this in their name" in shown.text
    assert shown.links("/games?") == ["/games?q=game+1"]
    assert "hidden" not in next(each for each in shown.all("p") if "data-more" in each)
    assert len(page(client, "/games", q="game 1").links("/games/")) == 11
    few = page(client, "/try", q="game 17")
    assert few.links("/games?") == []
    assert "hidden" in next(each for each in few.all("p") if "data-more" in each)


def test_the_dial_and_the_genres_are_kept_by_links_and_forms(client: httpx.Client) -> None:
    path = "/try?games=3&popularity=0.2&include=Indie&include=RPG&exclude=Action"
    shown = page(client, path)
    (dial,) = (each for _, each in shown.elements if each.get("type") == "range")
    assert (dial["name"], dial["value"]) == ("popularity", "0.2")
    assert all(
        text in shown.text for text in ("20 % popularity", "Indie : remove", "RPG : remove", "no Action : remove")
    )
    assert "/try?games=3&popularity=0.2&include=RPG&exclude=Action" in shown.links("/try")
    hidden = [(each["name"], each["value"]) for _, each in shown.elements if each.get("type") == "hidden"]
    assert [pair for pair in dict.fromkeys(hidden) if pair[0] in ("include", "exclude")] == [
        ("include", "Indie"),
        ("include", "RPG"),
        ("exclude", "Action"),
    ]
    body = {"history": [3], "popularity": 0.2, "include": ["Indie", "RPG"], "exclude": ["Action"]}
    games = client.post("/api/v1/recommend", json=body).json()["games"]
    assert games
    assert all(game["name"] in shown.text and game["reason"] in shown.text for game in games)


def test_a_users_page_with_a_dial_is_answered_at_once(client: httpx.Client) -> None:
    shown = page(client, "/users/1?popularity=0.2&limit=5")
    games = client.get("/api/v1/users/1/recommendations?popularity=0.2&limit=5").json()["games"]
    assert games != client.get("/api/v1/users/1/recommendations?limit=5").json()["games"]
    assert all(game["name"] in shown.text and game["reason"] in shown.text for game in games)
    assert "20 % popularity" in shown.text
    assert "/users/1?limit=5" in shown.links("/users/1")


def test_unknown_games_of_an_address_are_left_out_and_counted(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,999999,3")
    assert [row["data-game"] for row in shown.all("li") if row.get("data-game")] == ["3"]
    assert "1 of the address's games is not in the shop" in shown.text


def test_while_the_model_loads_pages_offer_to_try_again(published_shop: PublishedShop, tmp_path: Path) -> None:
    with serving(published_shop.settings(store=str(tmp_path))) as served:  # never loads
        for path in ("/try?games=3", "/games/7"):
            shown = page(served.client, path)
            assert "The current publication's model is still loading: try again in a moment." in shown.text
            assert path in shown.links(path)
        assert [each for each in page(served.client, "/try").all("div") if "data-loading" in each]


def test_without_a_model_store_pages_say_so(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None)) as served:
        shown = page(served.client, "/try", games="3")
        assert "There is no model store: set EXPLORER_STORE." in shown.text
        assert "data-loading" not in {name for _, each in shown.elements for name in each}
        assert "There is no model store" in page(served.client, "/games/7").text


def game_of(rank: int, because: int | None = None) -> GameCard:
    reason = None if because is None else Because(because, f"Game {because}", [])
    return GameCard(
        rank, rank, f"Game {rank}", "personal", 0.0, 0.0, 100, "a reason", reason, None, [], None, None, None
    )
