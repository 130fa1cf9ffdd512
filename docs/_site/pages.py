"""Pages of the site that are made from files which live elsewhere.

A hook of mkdocs. The README, the changelog and the like keep their one place in the repository and
become pages here; the API reference follows the `__all__` of every package, and the page of the
commands is what they print for `--help`. Links that leave `docs/` lead to the page made of that
file, or else to the repository.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from reference import API, commands, overview, packages, page_of, reference

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "benchmarks/README.md": "speed.md",
    "notebooks/README.md": "notebooks.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts a page for each package where the navigation says `api`."""
    for section in config.nav or []:
        for entries in section.values() if isinstance(section, dict) else []:
            for entry in entries if isinstance(entries, list) else []:
                if isinstance(entry, dict) and entry.get("API") == API:
                    entry["API"] = [f"{API}/index.md", *map(page_of, packages())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    made = {page: (ROOT / source).read_text() for source, page in PAGES.items()}
    made["index.md"] = "---\nhide: [navigation]\n---\n" + made["index.md"]
    made["commands.md"] = commands()
    made[f"{API}/index.md"] = overview()
    made |= {page_of(package): reference(package) for package in packages()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links of the site."""
    path = page.file.src_uri
    sources = {made: source for source, made in PAGES.items()}
    source = sources.get(path, f"docs/{path}")

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target in PAGES:
            target = PAGES[target]
        elif target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif (ROOT / target).exists():
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"{config.repo_url.rstrip('/')}/{kind}/main/{target}"
        return posixpath.relpath(target, posixpath.dirname(path) or ".")

    return LINK.sub(turned, markdown)
