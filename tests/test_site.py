"""The documentation: links between pages hold, on GitHub and in the built site, which needs nothing from elsewhere."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from page_commands import PAGES, ROOT

LINKED = [*PAGES, ROOT / "CHANGELOG.md"]
VOID = {"link": "href", "script": "src", "img": "src", "iframe": "src"}  # what a browser fetches by itself


def slugs(page: Path) -> set[str]:
    """GitHub's anchors of a page."""
    found: list[str] = []
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


def links(page: Path) -> list[str]:
    """Targets of a page's links and pictures that are not of another host."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    children = [child for token in tokens for child in token.children or ()]
    found = [str(child.attrGet("href") or child.attrGet("src") or "") for child in children]
    return [link for link in found if link and not urlsplit(link).scheme]


@pytest.mark.parametrize("page", LINKED, ids=[page.name for page in LINKED])
def test_links_hold_on_github(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert unquote(anchor) in slugs(target), f"{page.name}: {link}"


class Page(HTMLParser):
    """Of an HTML page: its ids, its links, and what it fetches."""

    def __init__(self, file: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.code = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.code += tag in ("code", "pre", "script", "style", "math")
        self.ids |= {value for key in ("id", "name") if (value := given.get(key))}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in VOID and given.get(VOID[tag]):
            self.fetched.append(given[VOID[tag]])

    def handle_endtag(self, tag):
        self.code -= tag in ("code", "pre", "script", "style", "math")

    def handle_data(self, data):
        if self.code <= 0:
            self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly: a link that leads nowhere, or a page that no menu has, is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return {file.relative_to(folder).as_posix(): Page(file) for file in folder.rglob("*.html")}, folder


def test_every_page_is_in_the_site(site):
    pages, _ = site
    written = {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    assert pages.keys() - {"404.html"} == written | {"changelog.html"}
    menu = {urlsplit(link).path for link in pages["index.html"].links}
    assert written - {"index.html"} <= menu


def test_links_hold_in_the_site(site):
    pages, folder = site
    for name, page in pages.items():
        if name == "404.html":
            continue
        for link in (*page.links, *page.fetched):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                assert link in page.links, f"{name} fetches {link}"
                continue
            target = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
            assert target.exists(), f"{name}: {link}"
            if parts.fragment and target.suffix == ".html":
                ids = pages[target.resolve().relative_to(folder.resolve()).as_posix()].ids
                assert unquote(parts.fragment) in ids, f"{name}: {link}"


def test_equations_are_mathml(site):
    pages, folder = site
    for name in ("equations.html", "concepts.html"):
        html = (folder / name).read_text(encoding="utf-8")
        source = (ROOT / "docs" / name.replace(".html", ".md")).read_text(encoding="utf-8")
        assert html.count('class="equation"') == source.count("\n$$\n") / 2 + source.count("\n  $$\n") / 2
        assert "merror" not in html
        assert not re.search(r"\$\$|\\frac|\\mathcal", "".join(pages[name].text))


def test_the_reference_has_every_public_name(site):
    import askew

    ids = site[0]["reference.html"].ids
    classes = {getattr(askew, name) for name in askew.__all__ if name != "__version__"}
    for one in classes:
        assert any(known.endswith(f".{one.__name__}") for known in ids), one


def test_examples_of_the_reference_are_code(site):
    """Without the heading `Examples:`, Markdown takes `>>>` for three nested quotations."""
    text = (site[1] / "reference.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in text
    assert text.count("Examples:") > 8


def test_the_faq_answers_every_question():
    text = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    answers = text.split("\n### ")[1:]
    assert len(answers) == 35
    for answer in answers:
        assert re.search(r"^\*[\w.\-]+(/\w+)?[# ]", answer, re.M), answer[:60]
        assert re.search(r"^```(sh|python)$", answer, re.M), answer[:60]
