"""Building a history by clicking games: with JavaScript recommendations change at once, without it by links."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import Row, expect_recommended, most_reviewed_games, recommended
from tests.explorer.browser.sites import Site


def answered(site: Site, history: list[int]) -> list[Row]:
    """Return the API's answer to a history."""
    answer = httpx.post(f"{site.url}/api/v1/recommend", json={"history": history}, timeout=60)
    assert answer.status_code == 200
    return [(game["game_id"], game["name"], game["reason"]) for game in answer.json()["games"]]


def history_of(page: Page) -> list[int]:
    """Return the games in the page's address."""
    games = parse_qs(urlsplit(page.url).query).get("games", [""])[0]
    return [int(game_id) for game_id in games.split(",") if game_id]


def look_for(page: Page, name: str) -> None:
    """Search for a game."""
    page.get_by_role("searchbox", name="Game").fill(name)
    page.get_by_role("button", name="Search").click()


def entry(page: Page, label: str, what: str, name: str) -> Locator:
    """Return the link that adds or removes a game, in a list."""
    return page.get_by_role("list", name=label, exact=True).get_by_role("link", name=f"{what} {name}", exact=True)


def hold_the_first(page: Page, address: str) -> list[Route]:
    """Let all requests to an address but the first go on; return all of them, as they come."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route(address, hold)
    return held


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_recommendations_change_with_each_game_as_the_api_answers(demo: Site, visit: Visit, script: bool) -> None:
    page = visit(demo, java_script_enabled=script)
    page.goto("/try")
    expect_recommended(page, answered(demo, []))
    chosen: list[int] = []
    for game_id, name in most_reviewed_games(demo, 3):
        look_for(page, name)
        entry(page, "Games found", "I like", name).click()
        chosen.append(game_id)
        expect(entry(page, "Your history", "Remove", name)).to_be_visible()
        expect_recommended(page, answered(demo, chosen))
        assert history_of(page) == chosen
    (game_id, name) = most_reviewed_games(demo, 3)[1]
    entry(page, "Your history", "Remove", name).click()
    chosen.remove(game_id)
    expect(entry(page, "Your history", "Remove", name)).to_have_count(0)
    expect_recommended(page, answered(demo, chosen))
    assert history_of(page) == chosen


def test_with_javascript_no_page_is_reloaded(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/try")
    page.evaluate("window.same = true")
    games = most_reviewed_games(demo, 2)
    for _, name in games:
        look_for(page, name)
        entry(page, "Games found", "I like", name).click()
        expect(entry(page, "Your history", "Remove", name)).to_be_visible()
    expect_recommended(page, answered(demo, [game_id for game_id, _ in games]))
    assert page.evaluate("window.same") is True
    entry(page, "Your history", "Remove", games[0][1]).click()
    expect_recommended(page, answered(demo, [games[1][0]]))
    assert page.evaluate("window.same") is True


def test_a_long_search_suggestion_list_links_to_all_games(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/try")
    more = page.get_by_role("link", name="show all games that were found")
    expect(more).to_have_count(0)
    page.get_by_role("searchbox", name="Game").fill("the r")
    expect(more).to_be_visible()
    expect(page.get_by_role("list", name="Games found", exact=True).get_by_role("listitem")).to_have_count(6)
    page.get_by_role("searchbox", name="Game").fill("no game has this in its name")
    expect(more).to_have_count(0)
    page.get_by_role("searchbox", name="Game").fill("the r")
    more.click()
    expect(page).to_have_url(f"{demo.url}/games?q=the+r")


def test_a_pages_address_shows_every_visitor_the_same_history(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/try")
    games = most_reviewed_games(demo, 2)
    for _, name in games:
        look_for(page, name)
        entry(page, "Games found", "I like", name).click()
        expect(entry(page, "Your history", "Remove", name)).to_be_visible()
    rows = answered(demo, [game_id for game_id, _ in games])
    expect_recommended(page, rows)
    for script in (True, False):
        friend = visit(demo, java_script_enabled=script)
        friend.goto(page.url)
        for _, name in games:
            expect(entry(friend, "Your history", "Remove", name)).to_be_visible()
        expect_recommended(friend, rows)
    page.reload()
    expect_recommended(page, rows)


def test_a_recommended_game_is_never_one_of_the_history(demo: Site, visit: Visit) -> None:
    ids = [game_id for game_id, _ in most_reviewed_games(demo, 12)]
    page = visit(demo)
    page.goto(f"/try?games={','.join(map(str, ids))}")
    expect(recommended(page)).to_have_count(10)
    links = recommended(page).locator("a[href^='/games/']").evaluate_all("links => links.map(link => link.pathname)")
    assert not {f"/games/{game_id}" for game_id in ids} & set(links)


def test_an_unknown_game_is_reported_and_the_others_stay(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    (game_id, name), *_ = most_reviewed_games(demo, 1)
    page.goto(f"/try?games={game_id},2000000000")
    expect(entry(page, "Your history", "Remove", name)).to_be_visible()
    expect_recommended(page, answered(demo, [game_id]))


def test_after_an_api_error_a_retry_keeps_the_clicked_games(published_site: Site, visit: Visit) -> None:
    page = visit(published_site, 503)
    page.goto("/try?games=1")
    look_for(page, "Game 7")
    sentence = "<p class=lead>The database cannot be reached: try again in a moment.</p>"
    answer = {"status": 503, "content_type": "text/html", "body": sentence}
    page.route("**/try?**", lambda route: route.fulfill(**answer))
    entry(page, "Games found", "I like", "Game 7").click()
    expect(page.get_by_role("main")).to_contain_text("The database cannot be reached")
    page.unroute("**/try?**")
    page.get_by_role("link", name="Try again").click()
    expect(recommended(page)).to_have_count(10)
    assert history_of(page) == [1, 7]


def test_two_quick_clicks_both_count(demo: Site, visit: Visit) -> None:
    first, second, third = most_reviewed_games(demo, 3)
    page = visit(demo)
    page.goto(f"/try?games={first[0]},{second[0]},{third[0]}")
    held = hold_the_first(page, "**/try?**")
    entry(page, "Your history", "Remove", first[1]).click()
    entry(page, "Your history", "Remove", second[1]).click()
    held[0].continue_()
    expect(page).to_have_url(f"{demo.url}/try?games={third[0]}")
    expect_recommended(page, answered(demo, [third[0]]))
    assert history_of(page) == [third[0]]


def test_two_filters_that_are_removed_quickly_are_both_removed(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/users/1?rank_by=newest&genre=Indie&released_from=2018")
    held = hold_the_first(page, "**/users/1?**")
    chosen = page.get_by_role("list", name="Filters that are set")
    chosen.get_by_role("link", name="Indie").click()
    chosen.get_by_role("link", name="from 2018").click()
    held[0].continue_()
    expect(page).to_have_url(f"{published_site.url}/users/1?rank_by=newest")
    expect(chosen).to_have_count(0)


def test_the_dial_says_its_position_as_text(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/try?games=1,2")
    dial = page.get_by_role("slider", name="Niche to popular")
    expect(dial).to_have_attribute("aria-valuetext", "100 % popularity")
    dial.fill("0.7")
    expect(dial).to_have_attribute("aria-valuetext", "70 % popularity")


def test_a_step_of_the_dial_stops_the_request_for_the_shelves_before(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/try?games=1,2")
    dial = page.get_by_role("slider", name="Niche to popular")
    page.route(
        "**/try?**popularity=0.5**",
        lambda route: route.continue_() if "prefer" in route.request.headers else None,  # the shelves never come
    )
    with page.expect_request(lambda request: "=0.5" in request.url and "prefer" not in request.headers):
        dial.fill("0.5")
    with page.expect_event("requestfailed", lambda request: "=0.5" in request.url):
        dial.fill("0.2")
    expect(page).to_have_url(re.compile("popularity=0.2"))
    expect(recommended(page)).to_have_count(10)


def test_if_the_browser_refuses_an_entry_of_its_history_the_page_is_loaded(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/try?games=1&q=Game+7")
    page.evaluate("() => { window.same = true; history.pushState = () => { throw new Error('too many') } }")
    entry(page, "Games found", "I like", "Game 7").click()
    expect(page).to_have_url(f"{published_site.url}/try?games=1,7&q=Game+7")
    expect(entry(page, "Your history", "Remove", "Game 7")).to_be_visible()
    assert page.evaluate("window.same") is None
