"""Adds the pages beside `docs/` to the site, and makes links between files of the repository links between pages."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = {
    "index.md": "README.md",
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "log.md": "benchmarks/LOG.md",
}
"""Pages of the site by name: their files from the repository's root."""
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for name, path in BESIDE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Return a page whose links lead to where the site has their targets."""
    folder = (ROOT / BESIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent
    return _LINK.sub(lambda link: link[1] + _find_page(folder, link[2]), markdown)


def _find_page(folder: Path, target: str) -> str:
    """Return where the site has a file that a page in a folder links to."""
    path = (folder / target).resolve().relative_to(ROOT).as_posix()
    pages = {file: name for name, file in BESIDE.items()}
    return pages.get(path, path.removeprefix("docs/"))
