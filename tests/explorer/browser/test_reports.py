"""The reports of the evaluation and of monitoring: single files that load nothing, accessible, on any width."""

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from components.evaluate.gate import Thresholds
from components.evaluate.report import html_report as evaluation_report
from components.monitor.decision import DEFAULT, decide
from components.monitor.feedback import Feedback
from components.monitor.report import html_report as monitoring_report
from tests.components.evaluate.setups import evaluation_setup, interactions
from tests.components.evaluate.test_report import DESCRIPTION, FUTURE, KNOWN, PAST, evaluated
from tests.components.monitor.test_decision import FINE
from tests.components.monitor.test_report import measured
from tests.explorer.browser.accessibility import expect_accessible
from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.sites import Site

NOWHERE = Site("about:blank", "")
WIDTHS = (390, 1280, 1920)


def report(name: str) -> str:
    """A report with failures."""
    if name == "monitoring":
        return monitoring_report(decide(replace(FINE, age_days=9), DEFAULT), measured(5, ndcg=0.2), Feedback())
    setup = evaluation_setup(interactions(PAST + KNOWN), interactions(FUTURE), 7, description=DESCRIPTION)
    return evaluation_report(*evaluated(setup, Thresholds(coverage_floor=2.0)))


def opened(visit: Visit, name: str, **options: object) -> Page:
    page = visit(NOWHERE, **options)
    page.set_content(report(name))
    return page


@pytest.mark.parametrize("name", ["evaluation", "monitoring"])
def test_axe_finds_nothing_in_light_and_dark_at_any_width_and_nothing_scrolls_sideways(visit: Visit, name: str) -> None:
    page = opened(visit, name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["evaluation", "monitoring"])
def test_the_rules_are_folded_and_open_by_keyboard(visit: Visit, name: str) -> None:
    page = opened(visit, name, java_script_enabled=True)
    failed = page.get_by_role("cell", name="✗ failed").first
    expect(failed).to_be_hidden()
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(failed).to_be_visible()


def test_the_first_screen_of_an_evaluation_shows_the_verdict_and_the_scatter(visit: Visit) -> None:
    page = opened(visit, "evaluation", viewport={"width": 1280, "height": 900})
    for shown in (page.get_by_text("The model does not pass the gate."), page.get_by_role("img").first):
        expect(shown).to_be_in_viewport(ratio=1)
