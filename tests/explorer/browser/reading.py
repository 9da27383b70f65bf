"""What stands on the pages, by the names that a screen reader would say."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.explorer.browser.sites import Site

Row = tuple[int, str, str]
"""A recommended game: id, name, reason."""


def recommended(page: Page) -> Locator:
    """The recommended games, each a link to its page."""
    return page.get_by_role("list", name="Recommended games", exact=True).locator("a[href^='/games/']")


def expect_recommended(page: Page, rows: list[Row]) -> None:
    """Wait until the recommended games are these, in this order, each a link and with its reason."""
    links = recommended(page)
    expect(links).to_have_text([name for _, name, _ in rows])
    assert links.evaluate_all("links => links.map(link => link.pathname)") == [f"/games/{row[0]}" for row in rows]
    entries = page.get_by_role("list", name="Recommended games", exact=True).get_by_role("listitem")
    expect(entries).to_contain_text([reason for _, _, reason in rows])


def busiest_user(site: Site) -> tuple[int, str]:
    """The id and the name of the user with most reviews, and of several one whose name is more than a number."""
    ((user_id, username),) = site.rows(
        "SELECT user_id, username FROM steam.users JOIN steam.reviews USING (user_id) "
        "GROUP BY user_id ORDER BY count(*) DESC, username ~ '^[0-9]+$', user_id LIMIT 1"
    )
    return user_id, username


def most_reviewed_games(site: Site, number: int) -> list[tuple[int, str]]:
    """Ids and names of the games on sale with most reviews."""
    return [
        (game_id, name)
        for game_id, name in site.rows(
            "SELECT game_id, name FROM steam.games WHERE delisted_on IS NULL "
            "ORDER BY reviews_total DESC NULLS LAST, game_id LIMIT %s",
            number,
        )
    ]
