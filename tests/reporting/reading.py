"""A page as a browser's parser sees it: elements in their places, and what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

_VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def all(self, tag: str | None = None) -> list[Element]:
        own = [self] if tag in (None, self.tag) else []
        return own + [found for child in self.children for found in child.all(tag)]

    @property
    def text(self) -> str:
        """All words in it."""
        return " ".join([*self.words, *(child.text for child in self.children)])


class Page(HTMLParser):
    """Strict: every element that is opened is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root], f"left open: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {tag} {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self._open[-1].words.append(data.strip())


def drawn(root: Element) -> dict[str, Any]:
    """The numbers that charts are drawn from."""
    found: dict[str, Any] = json.loads(root.all("script")[0].text)
    return found


def read(html: str) -> Element:
    """The page's elements, after what every page must hold has been held."""
    root = Page(html).root
    ids = [element.attributes["id"] for element in root.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids)), "an id twice"
    for element in root.all():
        _asks_no_network(element, set(ids))
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(element.attributes.get(name, "").split()) <= set(ids), element
    _is_accessible(root)
    _runs_ours_alone(html, root)
    return root


def _runs_ours_alone(html: str, root: Element) -> None:
    """The policy names the scripts and the style sheet by their digests, and allows nothing else."""
    kinds = [script.attributes for script in root.all("script")]
    assert kinds == [{"type": "application/json", "id": "chart-data"}, {}, {}]
    texts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    texts += re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digests = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
    assert len(digests) == 3
    (policy,) = [meta.attributes["content"] for meta in root.all("meta") if "http-equiv" in meta.attributes]
    wanted = f"script-src {digests[0]} {digests[1]}; style-src {digests[2]}"
    assert policy == f"default-src 'none'; {wanted}; base-uri 'none'; form-action 'none'"
    assert len(html.encode()) < 5_000_000


def _asks_no_network(element: Element, ids: set[str]) -> None:
    assert element.tag not in {"link", "iframe", "object", "embed", "img", "base", "form"}, element.tag
    for name, value in element.attributes.items():
        assert not name.startswith("on"), f"{element.tag} {name}"
        assert name not in {"src", "srcset", "action", "style", "xlink:href"}, f"{element.tag} {name}"
        if name == "href":
            assert value[1:] in ids if value.startswith("#") else not value.partition("/")[0].count(":"), value
            assert not value.startswith("/"), value
    if element.tag == "style":
        assert "url(" not in element.text
        assert "@import" not in element.text


def _is_accessible(root: Element) -> None:
    (html,) = root.all("html")
    assert html.attributes["lang"] == "en"
    assert len(root.all("h1")) == len(root.all("main")) == 1
    levels = [int(element.tag[1]) for element in root.all() if element.tag in ("h1", "h2", "h3", "h4")]
    assert all(b <= a + 1 for a, b in pairwise(levels)), f"a heading is skipped: {levels}"
    for table in root.all("table"):
        assert table.children[0].tag == "caption"
        assert table.children[0].text
        assert all(cell.attributes["scope"] in ("col", "row") for cell in table.all("th"))
        widths = {len(row.children) for row in table.all("tr")}
        assert len(widths) == 1, "rows of different lengths"
    for chart in root.all("div"):
        if chart.attributes.get("class") == "chart":
            assert chart.attributes["data-title"]
            assert chart.attributes["data-told"] in chart.text, "words for those who do not see it"
