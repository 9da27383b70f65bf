"""A parsed page."""

from html.parser import HTMLParser

import httpx


class Page(HTMLParser):
    """A page's elements with their attributes, and its texts."""

    def __init__(self, answer: httpx.Response, status: int = 200) -> None:
        super().__init__()
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key.replace("_", "-")) == value for key, value in wanted.items())
        ]

    def links(self, beginning: str) -> list[str]:
        return [link["href"] for link in self.all("a") if (link.get("href") or "").startswith(beginning)]

    def fields(self) -> dict[str, str]:
        """What a form without JavaScript would send: its inputs, and the options that are chosen."""
        given = [field for field in self.all("input") if field.get("type") != "checkbox" or "checked" in field]
        fields = {field["name"]: field.get("value") or "" for field in given}
        select = ""
        for tag, attributes in self.elements:
            if tag == "select":
                select = attributes["name"] or ""
            elif tag == "option" and "selected" in attributes:
                fields[select] = attributes["value"] or ""
        return fields


def page(client: httpx.Client, path: str, status: int = 200, **query: object) -> Page:
    return Page(client.get(path, params=query or None), status)
