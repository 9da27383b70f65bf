"""The overview: the state, trends, versions, quality, drift and runs, and rollback with the operator's token only."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import expect_recommended
from tests.explorer.browser.sites import Site
from tests.explorer.conftest import TOKEN


def current(site: Site) -> str:
    """Return the current version."""
    return site.rows("SELECT version FROM recsys.publications WHERE current")[0][0]


def roll_back(page: Page, token: str, version: str = "") -> None:
    """Fill in and send the form; without a version it rolls back to the previous one."""
    page.goto("/overview")
    form = page.get_by_role("form", name="Roll back")
    page.locator("summary", has_text="Roll back").click()
    field = form.get_by_label("Operator's token")
    expect(field).to_have_attribute("type", "password")
    field.fill(token)
    if version:
        form.get_by_label("Version").select_option(version)
    form.get_by_role("button", name="Roll back").click()


def test_the_overview_shows_publications_runs_and_measurements(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/overview")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    publications = page.get_by_role("region", name="Publications", exact=True)
    for version, model in demo.rows("SELECT version, model_version FROM recsys.publications"):
        expect(publications).to_contain_text(version)
        expect(publications).to_contain_text(model)
    runs = page.get_by_role("region", name="Runs", exact=True)
    for pipeline, run_id in demo.rows("SELECT pipeline, run_id FROM recsys.pipeline_runs LIMIT 20"):
        expect(runs).to_contain_text(pipeline)
        expect(runs).to_contain_text(run_id)
    for name in ("Trends", "The model", "Realised quality", "Drift"):
        expect(page.get_by_role("region", name=name, exact=True)).not_to_be_empty()
    users, games, reviews = demo.rows(
        "SELECT (SELECT count(*) FROM steam.users), (SELECT count(*) FROM steam.games), "
        "(SELECT count(*) FROM steam.reviews)"
    )[0]
    for number in (users, games, reviews):
        expect(page.get_by_role("main")).to_contain_text(f"{number:,}")


@pytest.mark.parametrize(
    ("region", "names"),
    [("Realised quality", ["ndcg", "popular_ndcg"]), ("Drift", ["psi_games", "psi_genres", "psi_history_lengths"])],
)
def test_charts_have_a_dot_per_figure_and_an_accessible_name(
    published_site: Site, visit: Visit, region: str, names: list[str]
) -> None:
    page = visit(published_site)
    page.goto("/overview")
    chart = page.get_by_role("region", name=region, exact=True).get_by_role("img")
    expect(chart).to_have_accessible_name(re.compile("NDCG|stability"))
    figures = [
        f"{row[0][name]:.4f}"
        for name in names
        for row in published_site.rows("SELECT figures FROM recsys.monitoring ORDER BY measured_at")
        if row[0][name] is not None
    ]
    dots = chart.locator("circle")
    expect(dots).to_have_count(len(figures))
    assert [name.rpartition(" ")[2] for name in dots.locator("title").all_text_contents()] == figures


def test_a_decision_to_train_again_is_shown_with_its_reason(published_site: Site, visit: Visit) -> None:
    page = visit(published_site)
    page.goto("/overview")
    drift = page.get_by_role("region", name="Drift", exact=True)
    drift.locator("summary").click()
    expect(drift.get_by_role("row").filter(has_text="drift of games is 0.22")).to_have_count(1)


@pytest.mark.parametrize("token", ["another wrong token", TOKEN.upper()])
def test_a_wrong_token_is_refused_and_nothing_changes(published_site: Site, visit: Visit, token: str) -> None:
    before = current(published_site)
    page = visit(published_site, 403)
    roll_back(page, token)
    expect(page.get_by_role("main")).to_contain_text("This is not the operator's token")
    assert token not in page.content()
    assert token not in page.url
    assert current(published_site) == before


def test_the_operator_rolls_back_and_forward_again(published_site: Site, visit: Visit) -> None:
    before = current(published_site)
    ((other,),) = published_site.rows("SELECT version FROM recsys.publications WHERE NOT current")
    page, reader = visit(published_site), visit(published_site)
    reader.goto("/users/1")
    rows = published_site.recommended(1)
    expect_recommended(reader, rows)
    roll_back(page, TOKEN)
    expect(page).to_have_url(f"{published_site.url}/overview")
    expect(
        page.get_by_role("region", name="Publications", exact=True).get_by_role("row").filter(has_text=other)
    ).to_contain_text(re.compile("current", re.IGNORECASE))
    assert current(published_site) == other
    reader.reload()
    assert published_site.recommended(1) != rows
    expect_recommended(reader, published_site.recommended(1))
    roll_back(page, TOKEN, before)
    expect(page).to_have_url(f"{published_site.url}/overview")
    reader.reload()
    expect_recommended(reader, rows)
    assert current(published_site) == before


def test_without_an_operators_token_the_overview_has_no_form(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/overview")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
