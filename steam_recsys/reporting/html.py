"""Self-contained HTML pages for reports: every text is escaped, nothing is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root {
  color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  --series-0: #1f6fb2; --series-1: #d9730d; --series-2: #2a9d57; --series-3: #c2417c;
  --series-4: #7a5cc7; --series-5: #a67c00; --series-6: #0f8f9a; --series-7: #909090;
  --paper: #fff; --faint: #8883
}
@media (prefers-color-scheme: dark) {
  :root {
    --series-0: #6cb2f0; --series-1: #f5a25d; --series-2: #63d08f; --series-3: #f07fb0;
    --series-4: #b39df2; --series-5: #e0bd4a; --series-6: #5ed3dd; --series-7: #8c8c8c; --paper: #121212
  }
}
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; background: var(--paper) }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--faint) }
h3 { font-size: 1rem; margin: .75rem 0 .25rem }
p, li { max-width: 48rem; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0 }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
caption span { display: inline-block; max-width: calc(100vw - 2rem) }
th, td { border-bottom: 1px solid var(--faint); padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 }
th.number { text-align: right }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td small { display: block; opacity: .7 } td:not(.number) small { min-width: 8rem }
@media (max-width: 40rem) { table { font-size: .85rem } th, td { padding-right: .7rem } }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2.5rem }
article { border: 1px solid var(--faint); border-radius: .5rem; padding: .25rem 1rem 1rem; height: 100%;
  box-sizing: border-box }
article .beside { grid-template-columns: repeat(auto-fit, minmax(min(100%, 9.5rem), 1fr)); gap: .5rem 1.25rem }
article ol, article ul { margin: 0 0 .5rem; padding-left: 1.5rem; font-size: .9rem }
article h4 { margin: .25rem 0; font-size: .9rem; opacity: .75 }
figure { margin: 1rem 0; max-width: 38rem }
figcaption { font-weight: 600; margin-bottom: .4rem }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif; fill: currentColor }
svg .middle { text-anchor: middle } svg .end { text-anchor: end } svg .small { font-size: 11px }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px }
svg .grid, svg .frame { stroke: currentColor; stroke-opacity: .16; fill: none }
svg .whisker { stroke: currentColor; stroke-width: 1.5; stroke-opacity: .75 }
svg .line { fill: none; stroke-width: 2 } svg .dots { fill-opacity: .7 }
""" + "".join(
    f"svg .series-{number} {{ fill: var(--series-{number}) }} "
    f"svg .line.series-{number} {{ fill: none; stroke: var(--series-{number}) }}\n"
    for number in range(8)
)

NUMBER = ' class="number"'


@dataclass(frozen=True)
class Cell:
    """A table's cell: a text, which may be a number, and below it, smaller, what there is to add."""

    text: str
    detail: str
    number: bool = True


def page(title: str, *parts: str) -> str:
    """A page of parts that are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(parts)}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of a page under a heading, of parts that are HTML already."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n"


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>\n"


def beside(*parts: str) -> str:
    """Parts beside each other where the screen is wide enough, else below each other."""
    return f'<div class="beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>\n'


def card(title: str, *parts: str) -> str:
    """Parts in a frame under a small heading."""
    return f"<article><h3>{escape(title)}</h3>{''.join(parts)}</article>\n"


def figure(caption: str, drawing: str) -> str:
    """A drawing, which is HTML already, under a caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>\n{drawing}</figure>\n"


def listing(title: str, items: Iterable[str], *, numbered: bool = False) -> str:
    """A list of texts under a heading of a card."""
    kind = "ol" if numbered else "ul"
    return f"<h4>{escape(title)}</h4><{kind}>{''.join(f'<li>{escape(item)}</li>' for item in items)}</{kind}>\n"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers stand to the right, with thousands separators or four decimals, and so do their headings."""
    listed = [list(row) for row in rows]
    numbers = {column for row in listed for column, value in enumerate(row) if _is_number(value)}
    head = "".join(
        f'<th scope="col"{NUMBER if column in numbers else ""}>{escape(name)}</th>'
        for column, name in enumerate(header)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in listed)
    return (
        f'<div class="wide"><table><caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _is_number(value: object) -> bool:
    return value.number if isinstance(value, Cell) else isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    kind = NUMBER if _is_number(value) else ""
    if isinstance(value, Cell):
        return f"<td{kind}>{escape(value.text)}<small>{escape(value.detail)}</small></td>"
    text = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if kind else str(value)
    return f"<td{kind}>{escape(text)}</td>"
