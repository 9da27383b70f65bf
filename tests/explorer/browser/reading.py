"""Read pages by their accessible names, and choose users and games to read about."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.explorer.browser.sites import Site

Row = tuple[int, str, str]
"""A recommended game: id, name, reason."""


def recommended(page: Page) -> Locator:
    """Return the links of the recommended games."""
    return page.get_by_role("list", name="Recommended games", exact=True).locator("a[href^='/games/']")


def said_on(page: Page) -> str:
    """Return what the page says, as its accessibility tree: the text would lack what is not laid out yet."""
    return page.get_by_role("main").aria_snapshot()


def expect_recommended(page: Page, rows: list[Row]) -> None:
    """Wait until the page lists these games in this order, each with a link and its reason."""
    links = recommended(page)
    expect(links).to_have_text([name for _, name, _ in rows])
    assert links.evaluate_all("links => links.map(link => link.pathname)") == [f"/games/{row[0]}" for row in rows]
    entries = page.get_by_role("list", name="Recommended games", exact=True).get_by_role("listitem")
    expect(entries).to_contain_text([reason for _, _, reason in rows])


def known_first(site: Site, rows: list[Row], table: str, known: str) -> list[Row]:
    """Return the first ten rows with those last whose game is unknown to a table under a condition."""
    found = site.rows(f"SELECT game_id FROM {table} WHERE game_id = ANY (%s) AND {known}", [row[0] for row in rows])
    ids = {game_id for (game_id,) in found}
    return sorted(rows, key=lambda row: row[0] not in ids)[:10]


def busiest_user(site: Site) -> tuple[int, str]:
    """Return id and name of the user with the most reviews; of several, one whose name is not a number."""
    ((user_id, username),) = site.rows(
        "SELECT user_id, username FROM steam.users JOIN steam.reviews USING (user_id) "
        "GROUP BY user_id ORDER BY count(*) DESC, username ~ '^[0-9]+$', user_id LIMIT 1"
    )
    return user_id, username


def busiest_user_with_a_reason(site: Site) -> tuple[int, str]:
    """Return id and name of the user with the most reviews who gets a recommendation because of a game they liked.

    For a user with many reviews, often no single game decides a recommendation. At least one of the 1,000 busiest users
    has such a reason.
    """
    ((user_id, username),) = site.rows(
        "SELECT user_id, username FROM (SELECT user_id, count(*) AS reviews FROM steam.reviews GROUP BY user_id "
        "                               ORDER BY reviews DESC, user_id LIMIT 1000) AS busy "
        "JOIN steam.users USING (user_id) WHERE EXISTS (SELECT FROM recsys.recommended_games(user_id) "
        "                                               WHERE starts_with(reason, 'because you liked ')) "
        "ORDER BY reviews DESC, user_id LIMIT 1"
    )
    return user_id, username


def most_reviewed_games(site: Site, number: int) -> list[tuple[int, str]]:
    """Return ids and names of the available games with the most reviews."""
    return [
        (game_id, name)
        for game_id, name in site.rows(
            "SELECT game_id, name FROM steam.games WHERE delisted_on IS NULL "
            "ORDER BY reviews_total DESC NULLS LAST, game_id LIMIT %s",
            number,
        )
    ]
