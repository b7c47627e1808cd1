"""A hook of mkdocs: pages and files of the site that lie outside docs/, such as README.md and the notebooks."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "colabs/README.md": "notebooks.md",
}
"""Files of the repository, and the pages that they become."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)((?:#[^)\s]*)?)(?=\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links inside the site, to which a linked file is added.

    Raises PluginError, which names a file that is missing.
    """
    here = page.file.src_uri
    source = {site: repository for repository, site in OUTSIDE.items()}.get(here, f"docs/{here}")

    def link(match: re.Match[str]) -> str:
        path, anchor = match.groups()
        target = normpath(PurePosixPath(source).parent / path)
        inside = OUTSIDE.get(target, target.removeprefix("docs/"))
        if (target in OUTSIDE or target.startswith("docs/")) and files.get_file_from_path(inside):
            return relpath(inside, PurePosixPath(here).parent) + anchor
        if not (ROOT / target).exists():
            raise PluginError(f"{source}: a link leads to {target}, which does not exist")
        if not files.get_file_from_path(target):
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
        return relpath(target, PurePosixPath(here).parent) + anchor

    return LINK.sub(link, markdown)
