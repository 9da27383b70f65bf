from steam_recsys.evaluation.intervals import Interval
from steam_recsys.reporting.charts import Axis, Series, line_chart
from steam_recsys.reporting.pages import ENVIRONMENT
from steam_recsys.rules import Rule, Verdict
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>&\'"'
IMPORTS = '{% from "macros.html" import cell, figure, interval_cell, rules, table %}'


def rendered(content: str, title: str = "A page", **context: object) -> str:
    """A page of the base template with the given content."""
    template = f'{{% extends "base.html" %}}{IMPORTS}{{% block content %}}{content}{{% endblock %}}'
    return ENVIRONMENT.from_string(template).render(title=title, **context)


PARTS = """
{{ figure(text, chart) }}
{{ rules(verdict) }}
{% call table(text, [text, "more"], ["number", text]) %}
<tr>{{ cell(text) }}{{ cell(text, text) }}{{ cell(1) }}{{ interval_cell(interval) }}</tr>
{% endcall %}
"""


def parts(text: str) -> dict[str, object]:
    rules = (Rule(about=text, figure=0.5, at_least=0.1, reason=text), Rule(about=text, figure=1, enough=False))
    chart = line_chart(text, Axis("x"), Axis("y"), [Series("one", [(0.0, 0.0), (1.0, 1.0)])])
    return {"text": text, "verdict": Verdict(rules), "interval": Interval(0.5, 0.25, 0.75), "chart": chart}


def test_a_page_of_every_part_is_well_formed_and_loads_nothing() -> None:
    read = Page(rendered(PARTS, **parts("A text")))
    assert [tag for tag, attributes in read.elements if "src" in attributes or "href" in attributes] == []
    assert read.all("script") == read.all("link") == []
    assert len(read.all("svg")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")


def test_every_text_is_escaped() -> None:
    html = rendered(PARTS, title=HOSTILE, **parts(HOSTILE))
    assert "<script" not in html
    # Twice the title; the figure's caption and the chart's title; 3 of rules; caption, 2 headings, 3 of cells.
    assert Page(html).texts.count(HOSTILE) == 13


def test_numbers_and_their_headings_are_aligned_to_the_right() -> None:
    html = rendered(
        """{% call table("Table", ["name", "flag"], ["count", "share", "figure", "limit"]) %}
        <tr>{{ cell("a") }}{{ cell("") }}{{ cell(12345) }}{{ cell(0.5) }}{{ interval_cell(interval) }}</tr>
        {{ interval_cell(interval, "%+.4f") }}
        {% endcall %}""",
        interval=Interval(0.1, 0.0, 1.0),
    )
    assert '<td>a</td><td></td><td class="number">12,345</td><td class="number">0.5000</td>' in html
    assert '<td class="number">0.1000<small>0.0000 to 1.0000</small></td>' in html
    assert '<td class="number">+0.1000<small>+0.0000 to +1.0000</small></td>' in html
    assert [attributes.get("class") for attributes in Page(html).all("th")] == [None, None, *["number"] * 4]


def test_a_text_may_have_a_detail() -> None:
    html = rendered('{% call table("Table", ["name"]) %}<tr>{{ cell("text", "more") }}</tr>{% endcall %}')
    assert "<td>text<small>more</small></td>" in html
    assert '<th scope="col">name</th>' in html


def test_rules_are_listed_with_outcome_figure_and_bounds() -> None:
    texts = Page(rendered("{{ rules(verdict) }}", verdict=parts("NDCG")["verdict"])).texts
    cells = [text for text in texts if text.strip()]
    assert cells[cells.index("No rule failed.") :] == [
        "No rule failed.", "All 2 rules",
        "2 rules, none failed", "outcome", "figure", "value", "limit",
        "✓ passed", "NDCG", "NDCG", "0.5000", "at least 0.1000",
        "– not enough evidence", "NDCG", "1",
    ]  # fmt: skip


def test_a_table_may_be_empty() -> None:
    Page(rendered('{% call table("Nothing", ["name"]) %}{% endcall %}'))
