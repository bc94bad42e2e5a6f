"""Settings that the book needs whatever command builds it.

A Sphinx extension instead of a Makefile: ``jupyter-book build .`` and ``make book`` give the same pages.

* Cells are executed with ``NTKLAB_STATIC=1``, so explorers draw their frames into the page.
* The cache of executed cells lies in a folder named after a hash of ``ntklab`` and the pinned requirements:
  an output never outlives the code that made it.
* The repository's buttons point to wherever this copy came from, so a fork's book points to the fork.
* MathJax is taken from npm and served from the book itself, so the pages work without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput, visit_HideCellInput
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

KERNEL_ENVIRONMENT = {
    "NTKLAB_STATIC": "1",
    "OMP_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep: on a busy machine spinning costs several times the work
    # A progress bar in a kernel is a live widget, and the page would load a widget manager for it.
    # tqdm writes plain bars to stderr, which pages leave out, where a variable of this prefix exists.
    "SPYDER_LIKE_PROGRESS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "ui/lazy.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)
HOSTS_WITH_BUTTONS = ("github.com", "gitlab.com")


def setup(app: Sphinx) -> dict:
    app.add_config_value("comments_config", {}, "")  # Jupyter Book sets it, though the pages take no comments
    app.connect("config-inited", configure, priority=100)  # before the theme and myst-nb read their options
    app.connect("html-page-context", offer_notebook)
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.add_node(HideCodeCellNode, override=True, html=(visit_hidden_cell, depart_HideCellInput))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def configure(app: Sphinx, config: Config) -> None:
    """Fill in what ``_config.yml`` cannot know."""
    root, build = Path(app.srcdir), Path(app.outdir).parent
    os.environ.update(KERNEL_ENVIRONMENT)
    config.nb_execution_cache_path = str(execution_cache(root, build))
    config.html_theme_options.update(repository_options(root))
    mathjax = offline_mathjax(root, build / "offline")
    if mathjax:
        config.html_static_path.append(str(build / "offline"))
        config.mathjax_path = mathjax


# Execution cache


def cache_key(root: Path) -> str:
    """Hash of everything that outputs depend on apart from the page itself."""
    digest = hashlib.sha256()
    sources = [
        path for path in (root / "ntklab").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    pinned = [root / "requirements.txt", root / "constraints.txt"]
    for path in [*pinned, *sorted(sources)]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def execution_cache(root: Path, build: Path) -> Path:
    """Folder of the executed cells for the present ``ntklab``; folders of former versions are removed."""
    current = build / ".jupyter_cache" / cache_key(root)
    for former in current.parent.glob("*"):
        if former != current and re.fullmatch("[0-9a-f]{16}", former.name):
            shutil.rmtree(former, ignore_errors=True)
    return current


# Repository buttons


def repository_options(root: Path) -> dict:
    """Theme options for the repository's and Binder's buttons; empty where no public repository is known."""
    url = https_address(os.environ.get("NTK_REPOSITORY_URL") or git(root, "remote", "get-url", "origin"))
    if url is None:
        LOGGER.info("course: no public git remote, so the pages carry no repository and launch buttons")
        return {}
    return {
        "repository_url": url,
        "repository_branch": git(root, "symbolic-ref", "--short", "HEAD") or "main",
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"},
    }


def https_address(remote: str) -> str | None:
    """``https://host/owner/repository`` of a git remote without credentials, or None for any other remote."""
    match = re.fullmatch(
        r"(?:(?:https?|ssh|git)://)?(?:[^@/]+@)?(?P<host>[\w.-]+)(?::\d+)?[:/]/?"
        r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?",
        remote,
    )
    if match is None or match["host"] not in HOSTS_WITH_BUTTONS:
        return None
    return "https://{host}/{owner}/{name}".format(**match.groupdict())


def git(root: Path, *arguments: str) -> str:
    """Output of a git command in ``root``; empty without git or where ``root`` is no repository."""

    def run(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    if shutil.which("git") is None:
        return ""
    top = run("rev-parse", "--show-toplevel")
    return run(*arguments) if top and Path(top).samefile(root) else ""


# MathJax


def offline_mathjax(root: Path, target: Path) -> str | None:
    """Put the pinned MathJax under ``target``; its script's path, or None where npm could not provide it."""
    version = json.loads((root / "package-lock.json").read_text())["packages"]["node_modules/mathjax"][
        "version"
    ]
    staged = target / f"mathjax-{version}"
    script = f"{staged.name}/{MATHJAX_PARTS[0]}"
    if all((staged / name).exists() for name in MATHJAX_PARTS):
        return script
    if not npm_install(root, version):
        return None
    shutil.rmtree(target, ignore_errors=True)
    part = target.with_name("offline.part")
    shutil.rmtree(part, ignore_errors=True)
    for name in MATHJAX_PARTS:
        source = root / "node_modules" / "mathjax" / "es5" / name
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, part / name)
    target.mkdir()
    part.rename(staged)
    return script


def npm_install(root: Path, version: str) -> bool:
    """Have ``node_modules/mathjax`` at ``version``; False, with a message, where that is impossible."""
    manifest = root / "node_modules" / "mathjax" / "package.json"
    if manifest.is_file() and json.loads(manifest.read_text())["version"] == version:
        return True
    problem = "npm is not installed (Debian: apt-get install npm)"
    if npm := shutil.which("npm"):
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return True
        problem = f"`npm ci` failed:\n{done.stderr.strip()}"
    # Not a Sphinx warning: the book is complete, it only needs a network to show formulas.
    LOGGER.info("course: WARNING, readers will need a network to see formulas: %s", problem)
    return False


# Pages


def offer_notebook(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Add the page's notebook to its download menu (the theme does so only beside launch buttons).

    Outputs are left out: myst-nb writes them after an execution but not after a look into the cache, and
    frames of an explorer would make the file as large as the page.
    """
    notebook = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if doctree is None or "kernelspec" not in app.env.metadata[pagename] or not notebook.is_file():
        return
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    notebook.write_text(json.dumps(content, indent=1))
    offered = Path(app.outdir, "_sources", f"{pagename}.ipynb")
    offered.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(notebook, offered)
    context["ipynb_source"] = f"{pagename}.ipynb"


def visit_citation(translator, node: nodes.citation) -> None:
    """An entry of the bibliography as a list item: docutils gives it a role that ARIA has deprecated."""
    if not isinstance(node.previous_sibling(), nodes.citation):
        translator.body.append('<div role="list" class="citation-list">\n')
    translator.body.append(translator.starttag(node, "div", classes=["citation"], role="listitem"))


def depart_citation(translator, node: nodes.citation) -> None:
    last = not isinstance(node.next_node(descend=False, siblings=True), nodes.citation)
    translator.body.append("</div>\n</div>\n" if last else "</div>\n")


def visit_hidden_cell(translator, node: HideCodeCellNode) -> None:
    """A cell behind a toggle that is named by its visible text: myst-nb gives it another name."""
    start = len(translator.body)
    visit_HideCellInput(translator, node)
    shown = [part.replace(' aria-label="Toggle hidden content"', "") for part in translator.body[start:]]
    translator.body[start:] = shown
