from steam_recsys.reporting.html import Cell, beside, card, figure, listing, page, paragraph, section, table
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>&\'"'


def test_a_page_of_every_part_is_well_formed_and_loads_nothing() -> None:
    parts = [
        section(
            "A section",
            paragraph("A paragraph."),
            table("A table", ("name", "number"), [("one", 1), ("half", 0.5)]),
            beside(card("A card", listing("A list", ["item"])), figure("A figure", "<svg><title>A</title></svg>")),
        )
    ]
    read = Page(page("A page", *parts))
    assert [tag for tag, attributes in read.elements if "src" in attributes or "href" in attributes] == []
    assert read.all("script") == read.all("link") == []
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")


def test_every_text_is_escaped() -> None:
    html = page(
        HOSTILE,
        section(HOSTILE, paragraph(HOSTILE)),
        table(HOSTILE, (HOSTILE,), [(HOSTILE,), (Cell(HOSTILE, HOSTILE),)]),
        card(HOSTILE, listing(HOSTILE, [HOSTILE], numbered=True)),
        figure(HOSTILE, ""),
    )
    assert "<script" not in html
    texts = Page(html).texts
    assert texts.count(HOSTILE) == 13


def test_numbers_and_their_headings_stand_to_the_right() -> None:
    rows = [("a", 12_345, 0.5, Cell("0.1", "0 to 1"), True), ("b", "", "", "", False)]
    html = table("Table", ("name", "count", "share", "figure", "flag"), rows)
    assert '<td class="number">12,345</td><td class="number">0.5000</td>' in html
    assert '<td class="number">0.1<small>0 to 1</small></td><td>True</td>' in html
    assert [attributes.get("class") for attributes in Page(html).all("th")] == [
        None,
        "number",
        "number",
        "number",
        None,
    ]


def test_a_detail_may_be_of_a_text() -> None:
    html = table("Table", ("name",), [(Cell("text", "more", number=False),)])
    assert "<td>text<small>more</small></td>" in html
    assert '<th scope="col">name</th>' in html


def test_a_table_may_be_empty() -> None:
    Page(table("Nothing", ("name",), []))
