"""The pages over HTTP: what they show, and where their forms and links lead."""

import re
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from explorer.app import FOLDER
from explorer.filters import Filters
from explorer.pages import (
    ShownGame,
    asked_facts,
    compared,
    count_reasons,
    known_first,
)
from explorer.schemas import Because, GameCard, MinimumRequirements, Shelf
from explorer.settings import Settings
from explorer.templating import TILE_LINES, asset, day, options, tile
from tests.explorer.conftest import PublishedShop, caching_delayed, serving, wait_until
from tests.explorer.parsed_page import Page, page
from tests.explorer.publishing_runs import USERS

STOREFRONT = (
    "/",
    "/users",
    "/users?q=user",
    "/users/1",
    "/users/1/history",
    "/games",
    "/games?q=game",
    "/games?genre=Indie",
    "/games/7",
    "/try",
    "/try?games=1,2&q=7",
    "/try?games=1-:12.5,2:50&known=1&released_from=2018",
    "/users/1/compare",
    "/try/compare?games=1,2-",
)
PATHS = (
    *STOREFRONT,
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


def test_browsers_keep_static_files_by_their_content_alone(client: httpx.Client) -> None:
    current = client.get(asset("explorer.css"))
    assert current.headers["cache-control"] == "public, max-age=31536000, immutable"
    for address in ("/static/explorer.css", "/static/explorer.css?0123456789ab", asset("explorer.css") + "0"):
        assert client.get(address).headers["cache-control"] == "no-cache"
    known = {"if-none-match": current.headers["etag"]}
    again = client.get("/static/explorer.css", headers=known)
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


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


def listed(shown: Page) -> list[str]:
    """Return the ids of the cards of a page, in their order."""
    return [row["data-game"] or "" for row in shown.all("li", **{"class": "card"})]


def test_a_users_page_shows_shelves_then_the_list_and_the_history(client: httpx.Client) -> None:
    shown = page(client, "/users/1")
    assert "user 1" in shown.text
    shelves = client.get("/api/v1/users/1/shelves?shelves=8&games=12").json()["shelves"]
    games = client.get("/api/v1/users/1/recommendations").json()["games"]
    on_shelves = [str(game["game_id"]) for shelf in shelves for game in shelf["games"]]
    assert listed(shown) == on_shelves + [str(game["game_id"]) for game in games]
    assert all(shelf["title"] in shown.text for shelf in shelves)
    assert all(game["reason"] in shown.text for game in games)
    history = client.get("/api/v1/users/1/history").json()["history"]
    for reviewed in history:
        assert f"/games/{reviewed['game_id']}" in shown.links("/games/")
    assert "Liked" in shown.text


def test_a_card_has_year_genres_reviews_and_match(changing: PublishedShop) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET positive_share = 0.934")
    with serving(changing.settings(store=None)) as served:
        (first, *_) = served.client.get("/api/v1/users/1/recommendations").json()["games"]
        text = page(served.client, "/users/1").text
    year = (first["released_on"] or "Year not known")[:4]
    assert first["match"] is not None
    assert f"{year}" in text
    assert "93 % like it" in text
    assert f"{first['match']} % match" in text
    assert all(genre in text for genre in first["genres"])


@pytest.mark.parametrize("path", STOREFRONT)
def test_no_page_shows_a_score_that_nobody_can_read(client: httpx.Client, path: str) -> None:
    shown = page(client, path).text
    assert "log-odds" not in shown
    assert re.findall(r"\d\.\d{2}|[-−]\d+\.\d", shown) == []


def test_reasons_are_counted_over_all_shelves() -> None:
    shelves = [
        Shelf("For you", [card(10, because=1), card(11, because=2)]),
        Shelf("Popular", [card(12, because=1), card(13)]),
    ]
    assert count_reasons(shelves) == {1: 2, 2: 1}


def test_a_history_says_of_how_many_games_on_the_shelves_it_is_the_reason_wherever_the_dial_is(
    client: httpx.Client,
) -> None:
    said = [
        re.findall(r"reason for (?:1 game|[2-9] games) on the shelves", page(client, address).text)
        for address in ("/users/1", "/users/1?popularity=0&limit=50")
    ]
    assert said[0]
    assert said[0] == said[1]


@pytest.mark.parametrize("path", ["/users", "/games"])
def test_searches_lead_to_all_that_they_found(client: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.pages.MOST_FOUND", 10)
    whole = client.get(f"/api/v1{path}?q={path[1:-1]}&limit=100").json()[path[1:]]
    shown = page(client, path, q=path[1:-1])
    assert "The first 10 found" in shown.text
    found = shown.links(f"{path}/")
    while more := shown.links(f"{path}?q="):
        shown = page(client, more[0])
        assert re.search(r"\d+ more\b", shown.text)
        found += shown.links(f"{path}/")
    key = "user_id" if path == "/users" else "game_id"
    assert found == [f"{path}/{each[key]}" for each in whole]


def test_a_search_that_found_just_one_page_has_no_more(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.pages.MOST_FOUND", 11)
    shown = page(client, "/games", q="game 1")  # 1 and 10 to 19
    assert "11 found" in shown.text
    assert "The first" not in shown.text
    assert shown.links("/games?") == []


def test_a_long_history_says_so_and_goes_on(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None, largest_limit=2)) as served:
        history = served.client.get("/api/v1/users/1/history?limit=2").json()["history"]
        shown = page(served.client, "/users/1?limit=2")
        reviews = served.client.get("/api/v1/users/1").json()["reviews"]
        assert f"The newest 2 games, of {reviews} reviews." in shown.text
        (older,) = shown.links("/users/1/history?cursor=")
        ids = {f"/games/{review['game_id']}" for review in history}
        path = older
        while path:
            shown = page(served.client, path)
            games = set(shown.links("/games/"))
            assert games
            assert not games & ids
            ids |= games
            path = next(iter(shown.links("/users/1/history?cursor=")), "")
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT game_id FROM steam.reviews WHERE user_id = 1")
        assert ids == {f"/games/{game_id}" for (game_id,) in cursor.fetchall()}


@pytest.mark.parametrize("path", ["/users/1?rank_by=newest", "/try?games=1,2"])
def test_a_minimal_page_has_the_list_alone(client: httpx.Client, path: str) -> None:
    whole, minimal = client.get(path), client.get(path, headers={"prefer": "return=minimal"})
    assert whole.headers["vary"] == minimal.headers["vary"] == "Prefer"
    parts = [
        {each["data-part"] for _, each in Page(answer).elements if "data-part" in each} for answer in (whole, minimal)
    ]
    assert parts[0] == parts[1] > {"filters", "list"}
    games, fewer = listed(Page(whole)), listed(Page(minimal))
    assert len(games) > len(fewer) == 10
    assert fewer in (games[:10], games[-10:])


@pytest.mark.parametrize("path", ["/users/1?popularity=0.5", "/try?games=1,2&q=game&popularity=0.5"])
def test_a_page_without_the_form_has_the_other_parts_of_a_minimal_page(client: httpx.Client, path: str) -> None:
    minimal, without = (
        client.get(path, headers={"prefer": prefer}).text
        for prefer in ("return=minimal", "return=minimal; without=filters")
    )
    form = re.compile(r' *<div data-part="filters">.*?</form>\s*</div>\n', re.DOTALL)
    assert form.search(minimal)
    assert without == form.sub("", minimal)


def test_a_users_tastes_lead_to_the_genre(client: httpx.Client) -> None:
    shown = page(client, "/users/1")
    assert [link for link in shown.links("/users/1?genre=") if link.endswith("#recommended")]


def test_games_with_unknown_facts_come_last_and_are_marked_or_hidden() -> None:
    games = [card(1, released_on=None), card(2), card(3)]
    needs = {2: MinimumRequirements(4.0, None, []), 3: MinimumRequirements(4.0, 1.0, ["linux"])}
    asked = {"year", "storage"}
    ordered = known_first(games, asked, needs, only_known=False)
    assert [(each.game.game_id, each.game.rank, each.missing) for each in ordered] == [
        (3, 1, []),
        (1, 2, ["year", "storage"]),
        (2, 3, ["storage"]),
    ]
    assert [each.game.game_id for each in known_first(games, asked, needs, only_known=True)] == [3]
    assert [each.game.game_id for each in known_first(games, set(), {}, only_known=True)] == [1, 2, 3]


def test_only_filters_that_are_set_ask_for_facts() -> None:
    assert asked_facts(Filters()) == asked_facts(Filters(genre="Indie", rank_by="newest")) == set()
    assert asked_facts(Filters(released_to=2020, max_ram_gb=4.0, max_storage_gb=1.0, os="mac")) == {
        "year",
        "memory",
        "storage",
        "system",
    }


@pytest.mark.parametrize("path", ["/users/1", "/try"])
def test_the_switch_hides_games_whose_facts_are_not_known(client: httpx.Client, path: str) -> None:
    everything = page(client, f"{path}?released_from=1990&limit=100")
    marked = [part.strip() for part in everything.texts if part.strip() == "Year not known"]
    hidden = page(client, f"{path}?released_from=1990&limit=100&known=1")
    assert len(listed(hidden)) < len(listed(everything))
    assert marked
    assert "hide games with unknown facts : remove this filter" in hidden.text


@pytest.mark.parametrize("path", ["/users/1", "/try"])
def test_a_reversed_range_is_refused(client: httpx.Client, path: str) -> None:
    shown = page(client, f"{path}?released_from=2020&released_to=2010", 422)
    assert "The years from 2020 to 2010 are reversed" in shown.text
    assert f"{path}?released_from=2020" in shown.links(path)


def test_the_same_page_is_published_whether_the_dial_is_at_its_end_or_not_given(client: httpx.Client) -> None:
    assert listed(page(client, "/users/1?popularity=1")) == listed(page(client, "/users/1"))


def test_the_form_has_the_addresss_filters(client: httpx.Client) -> None:
    query = {"rank_by": "newest", "genre": "Indie", "released_from": "2018", "released_to": "2024",
             "max_ram_gb": "4.25", "max_storage_gb": "100", "os": "linux", "limit": "3"}  # fmt: skip
    shown = page(client, "/users/2", **query)
    assert shown.fields() == {**query, "exclude": "", "popularity": "1"}
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
        without_reasons = shown.text.replace("fits your taste", "")
        for claim in ("runs", "fits"):
            assert claim not in without_reasons
        assert shown.text.count("Otherwise, games whose year, memory, storage or system is not known come last.") == 1


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


def test_games_ordered_by_release_show_their_day(published_shop: PublishedShop, client: httpx.Client) -> None:
    path = "/users/1?rank_by=newest&limit=100"
    games = client.get(f"/api/v1{path.replace('?', '/recommendations?')}").json()["games"]
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT game_id, released_on FROM steam.games")
        released = dict(cursor.fetchall())
    days = [released[game["game_id"]] for game in games]
    text = page(client, path).text
    assert days[0] is not None
    assert days[-1] is None
    assert all(day(each) in text for each in days if each)
    assert day(days[0]) not in page(client, "/users/1").text


def test_a_list_explains_its_match(client: httpx.Client) -> None:
    sentence = "100 % is the best match for this taste."
    assert sentence in page(client, "/users/1").text
    assert sentence in page(client, "/try?games=1").text
    assert sentence not in page(client, "/users/1", genre="No such genre").text


def test_a_game_shows_facts_similar_games_and_reach(client: httpx.Client) -> None:
    path = recommended(client, "/users/1")[0]
    shown = page(client, path)
    similar = client.get(f"/api/v1{path}/similar?limit=12").json()["games"]
    assert listed(shown) == [str(game["game_id"]) for game in similar]
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
        ("/try?games=one", 422, "games.0: Write a game's id, with - if it is disliked"),
        (f"/try?games={','.join(map(str, range(101)))}", 422, "games: List should have at most 100 items"),
        (f"/games?q={'x' * 201}", 422, "q: String should have at most 200 characters"),
    ],
)
def test_an_error_page_says_what_is_wrong(client: httpx.Client, path: str, status: int, sentence: str) -> None:
    shown = page(client, path, status)
    assert sentence in shown.text
    assert "/" in shown.links("/")
    assert "Try again" not in shown.text
    assert client.get(path).headers["cache-control"] == "no-store"


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


def thumb(shown: Page, place: str, game_id: int) -> str:
    """Return where a thumb on a page leads."""
    (link,) = shown.all("a", id=f"{place}-{game_id}")
    return link["href"] or ""


def history_of(shown: Page) -> list[str | None]:
    """Return the ids of the history on a page."""
    return [row["data-game"] for row in shown.all("li") if "data-game" in row and row.get("class") != "card"]


def test_a_history_is_built_by_links(client: httpx.Client) -> None:
    search = page(client, "/try", games="3", q="game 7")
    added = thumb(search, "found-up", 7)
    assert added == "/try?games=3,7&q=game+7"
    shown = page(client, added)
    assert history_of(shown) == ["3", "7"]
    answer = client.post("/api/v1/recommend", json={"history": [3, 7]}).json()["games"]
    assert listed(shown)[:10] == [str(game["game_id"]) for game in answer]
    assert not shown.all("a", id="found-up-7")
    assert "Added" in shown.text
    assert thumb(shown, "remove", 3) == "/try?games=7&q=game+7"
    assert thumb(shown, "list-down", answer[0]["game_id"]) == f"/try?games=3,7,{answer[0]['game_id']}-&q=game+7"


def test_verdicts_and_hours_of_a_history_are_in_the_address(client: httpx.Client) -> None:
    shown = page(client, "/try?games=3,7-:12.5")
    assert "12.5 h of Game 7" in shown.text
    assert thumb(shown, "played-up", 7) == "/try?games=3,7:12.5"
    assert thumb(shown, "played-down", 3) == "/try?games=3-,7-:12.5"
    assert [
        link["id"] for link in shown.all("a", aria_current="true") if (link.get("id") or "").startswith("played")
    ] == [
        "played-up-3",
        "played-down-7",
    ]
    assert thumb(shown, "hours-3", 4) == "/try?games=3:50,7-:12.5"
    body = {"history": [3, {"game_id": 7, "recommended": False, "hours": 12.5}]}
    games = client.post("/api/v1/recommend", json=body).json()["games"]
    assert listed(shown)[:10] == [str(game["game_id"]) for game in games]


def test_personas_start_a_history(client: httpx.Client) -> None:
    start = page(client, "/")
    personas = start.links("/try?games=")
    assert personas
    assert all(link.endswith("&popularity=0.1") for link in personas)
    liked = parse_qs(urlsplit(personas[0]).query)["games"][0].split(",")
    assert len(liked) == len(set(liked)) == 4
    assert history_of(page(client, personas[0])) == liked
    assert listed(start)
    assert "fan" in start.text


def test_without_a_model_the_start_page_shows_the_published_shelves(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None)) as served:
        shown = page(served.client, "/")
    assert "For a visitor" in shown.text
    assert "Popular now" in shown.text
    assert listed(shown)


@pytest.mark.parametrize(
    ("path", "back"),
    [
        ("/users/1/compare", "/users/1"),
        ("/users/1/compare?os=linux&popularity=0.2&known=1", "/users/1?os=linux&popularity=0.2&known=1"),
        ("/try/compare?games=3,7-&os=linux&known=1", "/try?games=3,7-&os=linux&known=1"),
    ],
)
def test_a_comparison_has_three_lists_and_marks_shared_games(client: httpx.Client, path: str, back: str) -> None:
    shown = page(client, path)
    lists = [each["aria-label"] for each in shown.all("ol")]
    assert lists == ["Our model", "Popularity", "Played together"]
    assert back in shown.links(back)
    ids = listed(shown)
    shared = sum(1 for game_id in ids if ids.count(game_id) > 1)
    assert shown.text.count("Also in:") == shared
    assert path in page(client, back).links(path)


def test_a_comparison_puts_games_with_unknown_facts_last_or_hides_them(client: httpx.Client) -> None:
    everything = page(client, "/users/1/compare?released_from=1990&limit=100")
    assert "Year not known" in everything.text
    hidden = page(client, "/users/1/compare?released_from=1990&limit=100&known=1")
    assert "Year not known" not in hidden.text
    assert 0 < len(listed(hidden)) < len(listed(everything))


def test_a_comparison_counts_what_lists_have_in_common() -> None:
    games = {number: ShownGame(card(number), []) for number in (1, 2, 3)}
    columns = compared([("A", "", [games[1], games[2]]), ("B", "", [games[2], games[3]]), ("C", "", [games[2]])])
    assert [[others for _, others in column.games] for column in columns] == [
        [[], ["B", "C"]],
        [["A", "C"], []],
        [["A", "B"]],
    ]
    assert [column.common_with("A") for column in columns[1:]] == [1, 1]


def test_popular_games_are_shown_before_a_search(client: httpx.Client) -> None:
    shown = page(client, "/games")
    top = [int(game_id) for game_id in listed(shown)]
    assert len(top) > 10
    assert "/games?genre=Indie" in shown.links("/games?")
    indie = [int(game_id) for game_id in listed(page(client, "/games?genre=Indie"))]
    assert indie
    games = client.get("/api/v1/games", params={"ids": ",".join(map(str, indie))}).json()["games"]
    assert all("Indie" in game["genres"] for game in games)


def test_without_a_cover_address_tiles_are_drawn(client: httpx.Client) -> None:
    shown = page(client, "/users/1")
    assert not shown.all("img")
    assert len(shown.all("svg", viewbox="0 0 184 86")) == len(listed(shown))


def test_covers_come_from_the_one_configured_site(published_shop: PublishedShop) -> None:
    settings = published_shop.settings(store=None, cover_url="https://covers.example:8443/{game_id}/header.jpg?v=1")
    with serving(settings) as served:
        answer = served.client.get("/users/1")
    shown = Page(answer)
    assert [each["src"] for each in shown.all("img")] == [
        f"https://covers.example:8443/{game_id}/header.jpg?v=1" for game_id in listed(shown)
    ]
    policy = answer.headers["content-security-policy"]
    assert "img-src 'self' data: https://covers.example:8443; " in policy


@pytest.mark.parametrize(
    "address",
    [
        "covers/{game_id}",
        "https://covers.example/1.jpg",
        "javascript:{game_id}",
        "https://a.example;script-src */{game_id}",
    ],
)
def test_an_invalid_cover_address_is_refused(published_shop: PublishedShop, address: str) -> None:
    with pytest.raises(
        ValidationError, match=re.escape("it must be like https://shop.example/covers/{game_id}.jpg [type=")
    ):
        published_shop.settings(cover_url=address)


def test_a_tile_depends_on_name_and_genre_alone() -> None:
    drawn = tile("Half-Life 2", "Action")
    tile.cache_clear()
    assert tile("Half-Life 2", "Action") == drawn
    assert drawn.lines == ("Half-Life 2",)
    assert drawn.circles != tile("Portal", "Action").circles
    assert drawn.tone != tile("Half-Life 2", "Indie").tone
    long = tile("A very long name of a game that does not fit on a cover of this size", "")
    assert len(long.lines) == TILE_LINES
    assert long.lines[-1].endswith("…")
    assert tile("\ufeff", "").lines == ("(no visible name)",)


def test_a_tile_has_three_circles_with_their_centres_on_it() -> None:
    for number in range(50):
        circles = re.findall(
            r"M(-?\d+) (-?\d+)a(\d+) \3 0 1 0 (\d+) 0a\3 \3 0 1 0-\4 0", tile(f"Game {number}", "").circles
        )
        assert len(circles) == 3
        for left, middle, radius, width in (map(int, circle) for circle in circles):
            assert width == 2 * radius
            assert 0 <= left + radius <= 184
            assert 0 <= middle < 86


def test_options_keep_their_value_whatever_white_space_it_has() -> None:
    assert options(["Indie", "Point & Click", " two  spaces "]) == (
        '<option>Indie</option><option>Point &amp; Click</option><option value=" two  spaces "> two  spaces </option>'
    )


def test_searching_and_filtering_keep_the_history(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,7-", genre="Indie", q="game 8", known="1")
    assert [each["value"] for each in shown.all("input", name="games")] == ["3,7-", "3,7-"]
    assert {"type": "hidden", "name": "genre", "value": "Indie"} in shown.all("input", name="genre")
    assert {"type": "hidden", "name": "known", "value": "1"} in shown.all("input", name="known")
    assert {"type": "hidden", "name": "q", "value": "game 8"} in shown.all("input", name="q")
    kept = [
        link["href"] or "" for link in shown.all("a") if "data-live" in link and "remove" not in (link.get("id") or "")
    ]
    assert kept
    assert all("games=3" in href and "q=game+8" in href for href in kept)


def test_a_long_search_result_links_to_all_games(client: httpx.Client) -> None:
    shown = page(client, "/try", q="game 1")  # 1 and 10 to 19
    assert "The first 6: show all games that were found" in shown.text
    assert shown.links("/games?") == ["/games?q=game+1"]
    assert len(listed(page(client, "/games", q="game 1"))) == 11


def test_the_dial_and_the_genres_are_kept_by_links_and_forms(client: httpx.Client) -> None:
    path = "/try?games=3&popularity=0.2&include=Indie&include=RPG&exclude=Action"
    shown = page(client, path)
    (dial,) = (each for _, each in shown.elements if each.get("type") == "range")
    assert (dial["name"], dial["value"], dial["aria-valuetext"]) == ("popularity", "0.2", "20 % popularity")
    assert all(
        text in shown.text for text in ("mostly niche : remove", "Indie : remove", "RPG : remove", "no Action : remove")
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
    assert "mostly niche : remove this filter" in shown.text
    assert "/users/1?limit=5" in shown.links("/users/1")


def test_unknown_games_of_an_address_are_left_out_and_counted(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,999999,3")
    assert history_of(shown) == ["3"]
    assert "1 of the address's games is not in the shop" in shown.text


def test_while_the_model_loads_pages_offer_to_try_again(published_shop: PublishedShop, tmp_path: Path) -> None:
    with caching_delayed(tmp_path), serving(published_shop.settings(cache=tmp_path)) as served:
        for path in ("/try?games=3", "/games/7"):
            shown = page(served.client, path)
            assert "The current publication's model is still loading: try again in a moment." in shown.text
            assert path in shown.links(path)
        assert [each for each in page(served.client, "/try").all("section") if "data-loading" in each]


def test_if_the_model_cannot_be_loaded_pages_say_so_and_look_again(
    published_shop: PublishedShop, tmp_path: Path
) -> None:
    with serving(published_shop.settings(store=str(tmp_path))) as served:
        wait_until(lambda: "The model cannot be loaded: see the explorer's log." in page(served.client, "/try").text)
        assert [each for each in page(served.client, "/try").all("section") if "data-loading" in each]


def test_without_a_model_store_pages_say_so(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None)) as served:
        shown = page(served.client, "/try", games="3")
        assert "There is no model store: set EXPLORER_STORE." in shown.text
        assert "data-loading" not in {name for _, each in shown.elements for name in each}
        assert "There is no model store" in page(served.client, "/games/7").text


def card(game_id: int, because: int | None = None, released_on: date | None = date(2020, 1, 1)) -> GameCard:
    """A recommended game."""
    reason = None if because is None else Because(because, f"Game {because}", [])
    return GameCard(
        game_id,
        game_id,
        f"Game {game_id}",
        "personal",
        0.0,
        0.0,
        100,
        "a reason",
        reason,
        released_on,
        [],
        None,
        None,
        None,
    )
