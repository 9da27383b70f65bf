"""Search for a user and their recommendations, on real data, with and without JavaScript."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import (
    busiest_user,
    busiest_user_with_a_reason,
    expect_recommended,
    known_first,
    said_on,
)
from tests.explorer.browser.sites import Site

SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])


def find(page: Page, text: str) -> None:
    """Search for a user from the start page."""
    page.goto("/")
    search = page.get_by_role("search")
    search.get_by_role("searchbox", name="User").fill(text)
    search.get_by_role("button", name="Find").click()


def query_of(page: Page) -> dict[str, str]:
    """Return the parameters of the page's address that have a value."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@SCRIPT
def test_a_user_is_found_by_id_name_or_prefix(demo: Site, visit: Visit, script: bool) -> None:
    user_id, username = busiest_user(demo)
    page = visit(demo, java_script_enabled=script)
    for text in (str(user_id), username, username[:-1]):
        find(page, text)
        if not page.url.endswith(f"/users/{user_id}"):  # the only match is shown at once
            page.get_by_role("main").get_by_role("link", name=username, exact=True).click()
        expect(page).to_have_url(f"{demo.url}/users/{user_id}")
        expect(page.get_by_role("heading", level=1)).to_have_text(username)


def test_an_unknown_user_gives_a_sentence_and_the_search_again(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    find(page, "an unknown name, ever")
    expect(page.get_by_role("main")).to_contain_text(re.compile("no user", re.IGNORECASE))
    expect(page.get_by_role("search").get_by_role("searchbox", name="User")).to_have_value("an unknown name, ever")


@pytest.mark.parametrize(
    ("link", "least", "most"), [("Someone with many reviews", 2, 10**6), ("Someone with one review", 1, 1)]
)
def test_the_start_page_links_to_a_user_of_each_kind(
    demo: Site, visit: Visit, link: str, least: int, most: int
) -> None:
    page = visit(demo)
    page.goto("/")
    page.get_by_role("link", name=link).click()
    expect(page.get_by_role("heading", level=2, name="Recommended")).to_be_visible()
    found = re.fullmatch(r"/users/(\d+)", urlsplit(page.url).path)
    assert found, page.url
    ((reviews,),) = demo.rows("SELECT count(*) FROM steam.reviews WHERE user_id = %s", int(found[1]))
    assert least <= reviews <= most
    expect_recommended(page, demo.recommended(int(found[1])))


def test_a_new_user_gets_popular_games(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/")
    page.get_by_role("link", name="A new user").click()
    expect(page.get_by_role("heading", level=2, name="Recommended")).to_be_visible()
    user_id = int(urlsplit(page.url).path.split("/")[2])
    assert published_site.rows("SELECT count(*) FROM steam.reviews WHERE user_id = %s", user_id) == [(0,)]
    rows = published_site.recommended(user_id)
    assert {reason for _, _, reason in rows} == {"popular now"}
    expect_recommended(page, rows)


@SCRIPT
def test_a_users_page_shows_history_recommendations_and_reasons(demo: Site, visit: Visit, script: bool) -> None:
    user_id, username = busiest_user_with_a_reason(demo)
    page = visit(demo, java_script_enabled=script)
    page.goto(f"/users/{user_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(username)
    reviewed = page.get_by_role("region", name="History", exact=True)
    names = demo.rows(
        "SELECT name FROM (SELECT DISTINCT ON (game_id) * FROM steam.reviews WHERE user_id = %s "
        "                  ORDER BY game_id, reviewed_on DESC NULLS LAST, review_id DESC) AS latest "
        "JOIN steam.games USING (game_id) ORDER BY NOT recommended, reviewed_on DESC NULLS LAST, review_id DESC",
        user_id,
    )
    expect(reviewed.locator("a[href^='/games/']")).to_have_text([name for (name,) in names])
    rows = demo.recommended(user_id)
    expect_recommended(page, rows)
    expect(page.get_by_role("list", name="Recommended games", exact=True)).to_contain_text("because you liked ")
    beside = [page.get_by_role("heading", level=2, name=name).bounding_box() for name in ("History", "Recommended")]
    assert abs(beside[0]["y"] - beside[1]["y"]) < 5
    assert abs(beside[0]["x"] - beside[1]["x"]) > 300


@SCRIPT
@pytest.mark.parametrize(
    ("label", "value", "filters"),
    [
        ("Order", "Sales", {"rank_by": "sales"}),
        ("Order", "Revenue", {"rank_by": "revenue"}),
        ("Order", "Reviews", {"rank_by": "reviews"}),
        ("Order", "Newest", {"rank_by": "newest"}),
        ("Genre", "Strategy", {"genre": "Strategy"}),
    ],
)
def test_an_order_or_a_filter_changes_the_address_and_the_games(
    demo: Site, visit: Visit, script: bool, label: str, value: str, filters: dict[str, str | int]
) -> None:
    user_id, _ = busiest_user(demo)
    page = visit(demo, java_script_enabled=script)
    page.goto(f"/users/{user_id}")
    choose(page, label, value)
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**?**")
    defaults = {("rank_by", "relevance"), ("popularity", "1")}
    assert dict(query_of(page).items() - defaults) == {name: str(asked) for name, asked in filters.items()}
    rows = demo.recommended(user_id, **filters)
    assert rows != demo.recommended(user_id)
    expect_recommended(page, rows)


@SCRIPT
@pytest.mark.parametrize(("label", "name"), [("Released from", "released_from"), ("Released to", "released_to")])
def test_release_year_filters_exclude_older_and_newer_games(
    demo: Site, visit: Visit, script: bool, label: str, name: str
) -> None:
    user_id, _ = busiest_user(demo)
    ((year,),) = demo.rows(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(year FROM released_on)::integer) "
        "FROM recsys.recommended_games(%s) JOIN steam.games USING (game_id)",
        user_id,
    )
    year += 1 if name == "released_from" else -1
    page = visit(demo, java_script_enabled=script)
    page.goto(f"/users/{user_id}")
    choose(page, label, str(year))
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(f"**?*{name}={year}*")
    rows = demo.recommended(user_id, **{name: year}, limit=100)
    assert rows[:10] != demo.recommended(user_id)
    expect_recommended(page, known_first(demo, rows, "steam.games", "released_on IS NOT NULL"))


@pytest.mark.parametrize(
    ("label", "value", "filters", "known"),
    [
        ("RAM (GB)", "2", {"max_ram_gb": 2}, "ram_gb IS NOT NULL"),
        ("Storage (GB)", "1", {"max_storage_gb": 1}, "storage_gb IS NOT NULL"),
        ("System", "Linux", {"os": "linux"}, "cardinality(recsys.systems_of(os)) > 0"),
        ("System", "macOS", {"os": "mac"}, "cardinality(recsys.systems_of(os)) > 0"),
    ],
)
def test_filters_keep_only_games_that_run_on_the_users_machine(
    published_site: Site, visit: Visit, label: str, value: str, filters: dict[str, str | int], known: str
) -> None:
    page = visit(published_site)
    page.goto("/users/1")
    choose(page, label, value)
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**?**")
    rows = published_site.recommended(1, **filters, limit=100)
    assert rows[:10] != published_site.recommended(1)
    expect_recommended(
        page, known_first(published_site, rows, "steam.game_requirements", f"level = 'minimum' AND {known}")
    )


def choose(page: Page, label: str, value: str) -> None:
    """Set a field of the filter form."""
    field = page.get_by_label(label, exact=True)
    if not field.is_visible():
        # By keyboard: a click may miss it while shelves are laid out.
        page.get_by_text("Year, memory, storage, system").press("Enter")
    if field.evaluate("field => field.tagName") == "SELECT":
        field.select_option(label=value)
    else:
        field.fill(value)


@SCRIPT
def test_a_pages_address_shows_every_visitor_the_same_list(demo: Site, visit: Visit, script: bool) -> None:
    user_id, _ = busiest_user(demo)
    page = visit(demo, java_script_enabled=script)
    page.goto(f"/users/{user_id}")
    for label, value in (("Order", "Newest"), ("Genre", "Indie"), ("Released from", "2013"), ("RAM (GB)", "8")):
        choose(page, label, value)
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**?**")
    found = demo.recommended(user_id, rank_by="newest", genre="Indie", released_from=2013, max_ram_gb=8, limit=100)
    known = "released_on IS NOT NULL AND game_id IN (SELECT game_id FROM steam.game_requirements WHERE ram_gb > 0)"
    rows = known_first(demo, found, "steam.games", known)
    expect_recommended(page, rows)
    page.reload()
    shown = said_on(page)
    friend = visit(demo, java_script_enabled=not script)
    friend.goto(page.url)
    expect_recommended(friend, rows)
    assert said_on(friend) == shown
    for label, value in (("Order", "newest"), ("Genre", "Indie"), ("Released from", "2013"), ("RAM (GB)", "8")):
        expect(friend.get_by_label(label, exact=True)).to_have_value(value)


def test_the_browsers_back_button_shows_the_previous_list(demo: Site, visit: Visit) -> None:
    user_id, _ = busiest_user(demo)
    page = visit(demo)
    page.goto(f"/users/{user_id}")
    choose(page, "Order", "Sales")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**?**")
    page.go_back()
    expect_recommended(page, demo.recommended(user_id))
    expect(page.get_by_label("Order", exact=True)).to_have_value("relevance")


def test_a_filter_that_excludes_every_game_says_so_and_can_be_removed(demo: Site, visit: Visit) -> None:
    user_id, _ = busiest_user(demo)
    page = visit(demo)
    page.goto(f"/users/{user_id}?genre=No+such+genre&rank_by=newest")
    assert demo.recommended(user_id, genre="No such genre") == []
    expect(page.get_by_role("region", name="Recommended", exact=True)).to_contain_text("No game passes these filters")
    page.get_by_role("list", name="Filters that are set").get_by_role("link", name="No such genre").click()
    expect(page).to_have_url(f"{demo.url}/users/{user_id}?rank_by=newest")
    expect_recommended(page, demo.recommended(user_id, rank_by="newest"))
