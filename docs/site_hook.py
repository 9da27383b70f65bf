"""A hook for MkDocs: pages of the site that are outside `docs/`, and links between all pages.

On the site, README.md is the first page. In the repository, its links lead to files, as in `docs/data.md`, and pages in
`docs/` link back to it as `../README.md`. This hook rewrites both to pages of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*.ipynb"))

OUTSIDE = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE.txt",
    **{name: name for name in NOTEBOOKS},
}
"""Files outside `docs/` by their path in the repository, with their path on the site."""

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)((?:#[^)]*)?\))")
_PATHS = {site: repository for repository, site in OUTSIDE.items()}


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside `docs/` to the site."""
    for repository, site in OUTSIDE.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / repository)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Rewrite a page's links from paths in the repository to paths on the site."""
    site = page.file.src_uri
    repository = _PATHS.get(site, f"docs/{site}")

    def rewrite(link: re.Match[str]) -> str:
        if "://" in link[2]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(repository), link[2]))
        on_site = OUTSIDE.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(on_site, posixpath.dirname(site) or '.')}{link[3]}"

    return _LINK.sub(rewrite, markdown)
