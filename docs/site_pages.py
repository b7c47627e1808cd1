"""A hook of mkdocs: the site's pages that lie outside docs/, and links that lead out of the site.

A link to a file that is no page of the site becomes one to the repository, if the file exists; else the build fails.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
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
    """Turn links between files of the repository into links between pages; PluginError names a file that is missing."""
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
        return f"{REPOSITORY}/blob/main/{target}{anchor}"

    return LINK.sub(link, markdown)
