"""The text that people read, in Markdown, docstrings and messages: short sentences with the subject first; links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MARKDOWN = sorted(
    path
    for folder in (".", "docs", "docs/contributing", "docs/reference", "benchmarks", "colabs")
    for path in (ROOT / folder).glob("*.md")
)
SOURCES = sorted(path for folder in ("mdasr", "experiments") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 25  # words of a sentence
RIDDLE = re.compile(r"\W*(What|Of|How much|Which|Whose)\b(?!.*\?$)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def paragraphs(markdown: str) -> Iterator[str]:
    """The running text of a page: no code, tables or headings; links are their text."""
    markdown = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    markdown = re.sub(r"^\s*(\||#|:::|<).*$", "", markdown, flags=re.MULTILINE)
    yield from re.split(r"\n\s*\n|\n\s*(?:[*-]|\d+\.) ", "\n" + markdown)


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield from re.split(r"\n\s*\n|\n\s*[*-] |\n    ", ast.get_docstring(node) or "")


def literal(node: ast.expr) -> str:
    """A string as it stands in the code, with X for each value in it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return literal(left) + literal(right)
    return "X"


def messages(tree: ast.Module) -> Iterator[str]:
    """The texts of errors that are raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from map(literal, node.exc.args)


def sentences(text: str) -> Iterator[str]:
    text = re.sub(r"`[^`]*`", "CODE", text)
    yield from re.split(r"(?<=[.!?:])[\"')\]*]*\s+(?=[A-Z\"'(\[*0-9])", " ".join(text.split()))


def unclear(text: str) -> list[str]:
    """The sentences that are too long, or begin as a riddle does."""
    return [s for s in sentences(text) if len(re.findall(r"\S*\w\S*", s)) > LONGEST or RIDDLE.match(s)]


def test_the_check_finds_riddles_and_long_sentences():
    assert unclear("What is measured is the error. It is small.") == ["What is measured is the error."]
    assert unclear("What does it do? Of those, the nearest first.") == ["Of those, the nearest first."]
    assert unclear(" ".join(["word"] * 25) + ". " + " ".join(["Word"] * 26) + ".") == [" ".join(["Word"] * 26) + "."]


@pytest.mark.parametrize("path", MARKDOWN, ids=name)
def test_pages_are_in_short_sentences(path):
    assert not [s for text in paragraphs(path.read_text(encoding="utf-8")) for s in unclear(text)]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings_and_messages_are_in_short_sentences(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [s for text in (*docstrings(tree), *messages(tree)) for s in unclear(text)]


def test_the_readme_is_read_in_a_few_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1500


@pytest.mark.parametrize("path", MARKDOWN, ids=name)
def test_links_lead_to_files_that_exist(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]
