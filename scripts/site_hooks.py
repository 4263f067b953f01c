"""What `mkdocs build` does to the pages beyond Markdown: they are written for GitHub, and stay readable there.

Lists are nested as Markdown nests them everywhere but in Python-Markdown, links to files that are no page become their
paths, README.md and CHANGELOG.md are what the site links to, and equations become MathML, which needs no script.
"""

import html
import re
from pathlib import Path
from xml.etree import ElementTree

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
FENCE = re.compile(r" *```")
ITEM = re.compile(r"( *)([-*+]|\d+\.) +(?=\S)")
LINK = re.compile(r"\[([^]\[]+)\]\((\.\./[^)#\s]+)(#[^)\s]+)?\)")
FIGURE = re.compile(r"!\[([^]\[]+)\]\(\.\./([^)\s]+)\)")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FUNCTION = re.compile(r"(<mi>(?:log|max|min|cos)</mi>)(?!<mo)")  # a thin space around it, if no bracket follows
THIN = '<mspace width="0.17em"/>'
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
PRIME = "\u2032"


def on_files(files: Files, config) -> Files:
    """The changelog and the figures of studies lie outside docs/."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for _, path in FIGURE.findall(page.read_text(encoding="utf-8")):
            if files.get_file_from_path(figure_in_the_site(path)) is None:
                files.append(File.generated(config, figure_in_the_site(path), abs_src_path=str(ROOT / path)))
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    here = re.sub(r"\]\(docs/", "](", text)
    there = re.sub(r"\]\((?!\w+\.md|https?:|#)", "](../", here)
    files.append(File.generated(config, "changelog.md", content=there))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """A page as Python-Markdown must read it."""
    markdown = FIGURE.sub(lambda found: f"![{found[1]}]({figure_in_the_site(found[2])})", markdown)
    return nested(LINK.sub(within_the_site, markdown))


def figure_in_the_site(path: str) -> str:
    """Where a figure above docs/ is in the site."""
    return f"figures/{path.replace('/', '-')}"


def within_the_site(link: re.Match) -> str:
    """A link to a file above docs/: the page that it has become, or else its path."""
    text, target, anchor = link.groups()
    path = target.removeprefix("../")
    if path in PAGES:
        return f"[{text}]({PAGES[path]}{anchor or ''})"
    assert (ROOT / path).exists(), f"{link[0]}: there is no {path}"
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"


def nested(markdown: str) -> str:
    """What belongs to an item of a list, four spaces deep; in GitHub's Markdown it is as deep as the item's text."""
    lines, depths, fenced, level_of_last = [], [], False, 0
    for line in markdown.split("\n"):
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if text and not fenced:
            while depths and indent < depths[-1]:
                depths.pop()
        if ITEM.match(line) and not fenced and len(depths) < level_of_last:
            lines.append("")  # or else Python-Markdown takes it for an item of the list above
        level, inner = len(depths), indent - (depths[-1] if depths else 0)
        lines.append(" " * (4 * level + max(inner, 0)) + text if text else "")
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and (item := ITEM.match(line)):
            depths.append(item.end())
        level_of_last = len(depths) - 1 if ITEM.match(line) else level_of_last
    return "\n".join(lines)


def on_page_content(html_of_page: str, **_) -> str:
    """LaTeX to MathML."""
    return EQUATION.sub(mathml, html_of_page)


def mathml(equation: re.Match) -> str:
    """One equation; a displayed one in a box that scrolls where the page is too narrow."""
    displayed = equation[1] == "div"
    made = convert(html.unescape(equation[2]).strip(), display="block" if displayed else "inline")
    made = raised_once(FUNCTION.sub(rf"{THIN}\1{THIN}", made))
    return f'<div class="equation" tabindex="0">{made}</div>' if displayed else made


def raised_once(mathml: str) -> str:
    """Primes beside their letter: their glyph is raised already, and as a superscript it is hardly seen."""
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(mathml)
    for node in list(root.iter()):
        kind = node.tag.partition("}")[2]
        if kind in ("msup", "msubsup") and node[-1].text == PRIME:
            base, prime = node[0], node[-1]
            node.remove(prime)
            prime.tag, prime.attrib = f"{{{NAMESPACE}}}mo", {"lspace": "0", "rspace": "0"}
            row = ElementTree.Element(f"{{{NAMESPACE}}}mrow")
            row.extend([base, prime])
            node[0] = row
            node.tag = f"{{{NAMESPACE}}}{'mrow' if kind == 'msup' else 'msub'}"
    return ElementTree.tostring(root, encoding="unicode")
