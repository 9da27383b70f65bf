"""Pages without content: loading, empty, not found, and without the database."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import expect

from demo.postgres import EmbeddedPostgres
from explorer.settings import Settings
from steam_recsys.database.connection import create_schema
from tests.explorer.browser.accessibility import expect_accessible
from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import recommended, said_on
from tests.explorer.browser.sites import Site
from tests.explorer.conftest import PublishedShop, RunningExplorer, caching_delayed, published_shop_in, serving
from tests.explorer.publishing_runs import fill_shop


@pytest.fixture(scope="module")
def loading(published_shop: PublishedShop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The explorer while its model is still loading."""
    cache = tmp_path_factory.mktemp("cache")
    with caching_delayed(cache), serving(published_shop.settings(cache=cache, requests_per_second=1e6)) as served:
        yield Site(str(served.client.base_url), published_shop.url)


@pytest.fixture(scope="module")
def unpublished(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The explorer of a shop without a publication."""
    url = postgres.ensure_database("before_the_first_night")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    create_schema(connection, "steam")
    fill_shop(connection)
    connection.close()
    with serving(Settings(database_url=url, requests_per_second=1e6)) as served:
        yield Site(str(served.client.base_url), url)


def test_before_the_first_measurement_the_overview_says_so(
    served: RunningExplorer, published_shop: PublishedShop, visit: Visit
) -> None:
    page = visit(Site(str(served.client.base_url), published_shop.url))
    page.goto("/overview")
    for name in ("Realised quality", "Drift"):
        region = page.get_by_role("region", name=name, exact=True)
        expect(region).to_contain_text("Nothing has been measured yet")
        expect(region.get_by_role("img")).to_have_count(0)
    expect(page.get_by_role("region", name="Runs", exact=True)).to_contain_text("No pipeline has run yet")
    expect_accessible(page)


@pytest.mark.parametrize("path", ["/try?games=1,2", "/games/1"])
def test_while_the_model_loads_the_rest_of_a_page_is_shown(loading: Site, visit: Visit, path: str) -> None:
    page = visit(loading, 503)
    page.goto(path)
    expect(page.get_by_role("main")).to_contain_text("The current publication's model is still loading")
    expect(page.get_by_role("main")).to_contain_text("Game 1")
    expect_accessible(page)


def test_recommendations_appear_without_a_reload_once_the_model_is_loaded(
    published_shop: PublishedShop, visit: Visit, tmp_path: Path
) -> None:
    with ExitStack() as delayed:
        delayed.enter_context(caching_delayed(tmp_path))
        with serving(published_shop.settings(cache=tmp_path)) as served:
            page = visit(Site(str(served.client.base_url), published_shop.url), 503)
            page.goto("/try?games=1,2")
            page.evaluate("window.same = true")
            expect(page.get_by_role("main")).to_contain_text("still loading")
            expect(recommended(page)).to_have_count(0)
            delayed.close()
            expect(recommended(page)).to_have_count(10)
            expect(page.get_by_text("still loading").locator("visible=true")).to_have_count(0)
            assert page.evaluate("window.same") is True


@pytest.mark.parametrize("path", ["/", "/overview", "/users/1", "/try", "/games/1"])
def test_before_the_first_publication_every_page_says_so(unpublished: Site, visit: Visit, path: str) -> None:
    page = visit(unpublished, 503)
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(
        re.compile("Nothing has been published yet|There is no model store")
    )
    expect_accessible(page)


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/nothing", 404, "This page does not exist."),
        ("/users/999999", 404, "This user does not exist"),
        ("/games/999999", 404, "This game does not exist"),
        ("/users/unknown", 422, "user_id: Input should be a valid integer"),
        ("/users/1?rank_by=fame", 422, "rank_by: Input should be 'relevance', 'discovery'"),
        ("/users/1?released_from=long+ago", 422, "released_from: Input should be a valid integer"),
        ("/try?games=one,two", 422, "games.0: Write a game's id"),
        (f"/users?q={'x' * 300}", 422, "q: String should have at most 200 characters"),
    ],
)
def test_an_error_page_has_a_sentence_and_a_link(
    published_site: Site, visit: Visit, path: str, status: int, sentence: str
) -> None:
    page = visit(published_site, status)
    answer = page.goto(path)
    assert answer.status == status
    expect(page.get_by_role("main")).to_contain_text(sentence)
    expect(page.get_by_role("main").get_by_role("link").first).to_be_visible()
    expect_accessible(page)


def test_a_user_without_reviews_has_an_empty_history(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/users/30")
    expect(page.get_by_role("region", name="History", exact=True)).to_contain_text("No reviews yet")
    expect_accessible(page)


def test_a_long_history_has_a_page_of_its_own(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/users/1/history")
    expect(page.get_by_role("list", name="Liked", exact=True)).to_be_visible()
    expect_accessible(page)
    page.goto("/users/30/history")
    expect(page.get_by_role("main")).to_contain_text("No reviews yet")
    expect_accessible(page)


def test_without_the_database_pages_say_so_and_recover_with_it(postgres: EmbeddedPostgres, visit: Visit) -> None:
    with published_shop_in(postgres, "GONE_URL") as published_shop, serving(published_shop.settings()) as served:
        name = published_shop.url.rpartition("/")[2]
        page = visit(Site(str(served.client.base_url), published_shop.url), 503)
        page.goto("/users/1")
        shown = said_on(page)
        administrator = psycopg2.connect(postgres.url())
        administrator.autocommit = True
        with administrator.cursor() as cursor:
            for before, after in ((name, f"{name}_gone"), (f"{name}_gone", name)):
                cursor.execute(f"ALTER DATABASE {before} ALLOW_CONNECTIONS false")  # no reconnection meanwhile
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [before]
                )
                cursor.execute(f"ALTER DATABASE {before} RENAME TO {after}")
                cursor.execute(f"ALTER DATABASE {after} ALLOW_CONNECTIONS true")
                if before == name:
                    for path in ("/", "/users/1", "/games/1", "/try", "/overview"):
                        assert page.goto(path).status == 503
                        expect(page.get_by_role("main")).to_contain_text("The database cannot be reached")
                        expect_accessible(page)
                    page.goto("/users/1")
        administrator.close()
        page.get_by_role("main").get_by_role("link", name="Try again").click()
        expect(page.get_by_role("list", name="Recommended games", exact=True)).to_be_visible()
        assert said_on(page) == shown
