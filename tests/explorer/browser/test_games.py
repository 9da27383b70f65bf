"""A game's page, compared with the database and the API."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import busiest_user, expect_recommended, most_reviewed_games, recommended
from tests.explorer.browser.sites import Site


def api(site: Site, path: str) -> dict:
    """Return the API's answer."""
    answer = httpx.get(f"{site.url}{path}", timeout=60)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_game_is_found_by_a_part_of_its_name(demo: Site, visit: Visit, script: bool) -> None:
    ((game_id, name),) = most_reviewed_games(demo, 1)
    page = visit(demo, java_script_enabled=script)
    page.goto("/games")
    page.get_by_role("searchbox", name="Game").fill(name[1:-1].swapcase())
    page.get_by_role("main").get_by_role("search").get_by_role("button").click()
    page.get_by_role("main").get_by_role("link", name=name, exact=True).click()
    expect(page).to_have_url(f"{demo.url}/games/{game_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_a_games_facts_equal_those_in_the_database(demo: Site, visit: Visit) -> None:
    ((game_id, _),) = most_reviewed_games(demo, 1)
    page = visit(demo)
    page.goto(f"/games/{game_id}")
    facts = page.get_by_role("region", name="Facts", exact=True)
    game = api(demo, f"/api/v1/games/{game_id}")["game"]
    for text in (*game["genres"], *game["developers"], *game["publishers"], game["released_on"][:4]):
        expect(facts).to_contain_text(text)
    expect(facts).to_contain_text(re.compile(f"{game['reviews']:,}|{game['reviews']}"))


def test_a_games_requirements_equal_those_in_the_database(published_site: Site, visit: Visit) -> None:
    ((game_id, ram, storage, system),) = published_site.rows(
        "SELECT game_id, ram_gb, storage_gb, os FROM steam.game_requirements "
        "WHERE ram_gb IS NOT NULL AND storage_gb IS NOT NULL AND os IS NOT NULL ORDER BY game_id LIMIT 1"
    )
    page = visit(published_site)
    page.goto(f"/games/{game_id}")
    facts = page.get_by_role("region", name="Facts", exact=True)
    for text in (f"{ram:g} GB", f"{storage:g} GB", system):
        expect(facts).to_contain_text(text)


def test_similar_games_lead_from_game_to_game(demo: Site, visit: Visit) -> None:
    ((game_id, _),) = most_reviewed_games(demo, 1)
    page = visit(demo)
    page.goto(f"/games/{game_id}")
    for _ in range(2):
        similar = api(demo, f"/api/v1/games/{game_id}/similar?limit=12")["games"]
        links = page.get_by_role("region", name="Similar games", exact=True).locator("a[href^='/games/']")
        expect(links).to_have_text([game["name"] for game in similar])
        game_id, name = similar[0]["game_id"], similar[0]["name"]
        links.first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_estimated_reach_is_near_the_publications_count(demo: Site, visit: Visit) -> None:
    ((game_id, _),) = most_reviewed_games(demo, 1)
    page = visit(demo)
    page.goto(f"/games/{game_id}")
    reach = page.get_by_role("region", name="Who gets it recommended", exact=True)
    estimate = api(demo, f"/api/v1/games/{game_id}")["reach"]
    ((share, place),) = demo.rows(
        "SELECT (count(rank) / count(*)::float8), avg(rank)::float8 FROM ("
        "    SELECT array_position(game_ids, %s) AS rank FROM recsys.recommendations"
        "    WHERE list = 'relevance') AS listed",
        game_id,
    )
    assert abs(estimate["share"] - share) < 0.05
    assert abs(estimate["mean_rank"] - place) < 2
    shown = [float(number) for number in re.findall(r"([\d.]+)\s?%", reach.inner_text())]
    assert any(abs(number - 100 * estimate["share"]) <= 0.5 for number in shown), reach.inner_text()


def test_links_lead_from_a_user_to_a_game_and_back(demo: Site, visit: Visit) -> None:
    user_id, _ = busiest_user(demo)
    page = visit(demo)
    page.goto(f"/users/{user_id}")
    rows = demo.recommended(user_id)
    recommended(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(rows[0][1])
    page.go_back()
    expect_recommended(page, rows)


def test_a_game_page_adds_its_game_to_a_history(demo: Site, visit: Visit) -> None:
    ((game_id, name),) = most_reviewed_games(demo, 1)
    page: Page = visit(demo)
    page.goto(f"/games/{game_id}")
    page.get_by_role("main").locator(f"a[href='/try?games={game_id}']").click()
    expect(page.get_by_role("list", name="Your history", exact=True)).to_contain_text(name)
