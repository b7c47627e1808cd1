"""HTML built as a tree of elements, so that every tag is closed and all text is escaped; and the page's style."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

STYLE = """
:root { --page: #fff; --ink: #1b1f24; --faint: #5d6670; --line: #d5dae0; --box: #f5f7f9;
  --holds: #11703c; --fails: #b3261e; --undecided: #8a5a00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e7ea; --faint: #9aa4ae; --line: #363d45;
  --box: #1d2226; --holds: #58c98a; --fails: #ff8a80; --undecided: #e9b44c; }
  img { filter: invert(0.91) hue-rotate(180deg); } }
body { margin: 0 auto; max-width: 62rem; padding: 0 1rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.25rem; } h3 { font-size: 1.05rem; }
nav ul { columns: 18rem; padding-left: 1.2rem; } nav li { break-inside: avoid; }
dt { color: var(--faint); } dd { margin: 0 0 0.5rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; } thead th { background: var(--box); }
th[scope=colgroup] { text-align: center; } thead th:first-child { text-align: left; }
td.text { min-width: 14rem; text-align: left; white-space: normal; }
th[scope=row] { position: sticky; left: 0; max-width: 9rem; background: var(--page); text-align: left;
  white-space: normal; font-weight: 400; }
small, figcaption, .faint { color: var(--faint); } figcaption { font-size: 0.85rem; }
figure { margin: 1rem 0; } img { width: min(100%, 38rem); height: auto; }
summary { cursor: pointer; color: var(--faint); font-size: 0.9rem; }
.claim { padding: 0.5rem 0; border-bottom: 1px solid var(--line); } .claim p { margin: 0; }
.verdict { font-weight: 700; } .holds { color: var(--holds); } .fails { color: var(--fails); }
.undecided { color: var(--undecided); }
@media (min-width: 40rem) { dl { display: grid; grid-template-columns: max-content 1fr; column-gap: 1.5rem; }
  th[scope=row] { max-width: 18rem; } }
"""


def document(title: str, *content: Element) -> str:
    """Return a whole page with a title as HTML text."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", STYLE),
    )
    whole = tag("html", head, tag("body", tag("h1", title), *content), lang="en")
    return "<!doctype html>\n" + tostring(whole, encoding="unicode", method="html") + "\n"


def tag(kind: str, /, *content: Element | str, **attributes: str) -> Element:
    """Return an HTML element; `class_` becomes the attribute `class`, and `aria_label` becomes `aria-label`."""
    element = Element(kind, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
    return element


def section(name: str, title: str, *content: Element) -> Element:
    return tag("section", tag("h2", title), *content, id=name)


def grid(heads: Iterable[Element], rows: Iterable[Sequence[Element | str]]) -> Element:
    """Return a table in a box that scrolls sideways; the first cell of each row is the row's head."""

    def cell(content: Element | str) -> Element:
        return content if isinstance(content, Element) else tag("td", content)

    body = [tag("tr", tag("th", first, scope="row"), *map(cell, rest)) for first, *rest in rows]
    return tag("div", tag("table", tag("thead", *heads), tag("tbody", *body)), class_="wide", tabindex="0")


def heads(*names: str) -> list[Element]:
    return [tag("tr", *(tag("th", name, scope="col") for name in names))]


def figure(content: bytes, kind: str, caption: str) -> Element:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return tag("figure", tag("img", src=source, alt=caption), tag("figcaption", caption))
