"""What the book's extension sets, seen on a book of one page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, build, copy_sources, extension

course = extension("course")

ONE_PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---
# One page

```{code-cell} ipython3
import os

print("static", os.environ["NTKLAB_STATIC"], "threads", os.environ["OMP_NUM_THREADS"])
```

A formula $x^2$.
"""


@pytest.fixture
def small_book(tmp_path) -> Path:
    """The book's own configuration and extension around a single page."""
    root = copy_sources(
        tmp_path / "small",
        ["_config.yml", "book/_ext", "book/assets", "package", "requirements", "constraints"],
    )
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (root / "book" / "index.md").write_text(ONE_PAGE)
    (root / "book" / "references.bib").touch()
    (root / "ntklab").mkdir()
    (root / "ntklab" / "__init__.py").write_text("VALUE = 1\n")
    if (ROOT / "node_modules").is_dir():
        (root / "node_modules").symlink_to(ROOT / "node_modules")
    return root


def built_page(root: Path) -> str:
    return (root / "_build" / "html" / "book" / "index.html").read_text()


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_cells_run_in_static_mode_on_two_threads(small_book):
    build(small_book, "-W", "--keep-going")
    assert "static 1 threads 2" in built_page(small_book)


def test_change_of_the_package_executes_the_pages_anew(small_book):
    first, _ = build(small_book)
    second, _ = build(small_book)
    (small_book / "ntklab" / "__init__.py").write_text("VALUE = 2\n")
    third, _ = build(small_book)
    assert ["Executing notebook" in log for log in (first, second, third)] == [True, False, True]
    assert len(list((small_book / "_build" / ".jupyter_cache").iterdir())) == 1


def test_cache_key_depends_on_package_data_and_requirements(small_book):
    keys = [course.cache_key(small_book)]
    for name in ("ntklab/new.py", "ntklab/data.npz", "requirements.txt", "constraints.txt"):
        (small_book / name).write_text("changed")
        keys.append(course.cache_key(small_book))
    (small_book / "README.md").write_text("changed")
    assert len(set(keys)) == 5
    assert course.cache_key(small_book) == keys[-1]


def test_buttons_of_a_fork_lead_to_the_fork(small_book):
    git(small_book, "init", "--initial-branch", "mine")
    git(small_book, "remote", "add", "origin", "git@github.com:somebody/fork.git")
    build(small_book, "-W", "--keep-going")
    page = built_page(small_book)
    assert 'href="https://github.com/somebody/fork"' in page
    assert "https://mybinder.org/v2/gh/somebody/fork/mine?urlpath=lab/tree/book/index.md" in page


def test_variable_overrides_the_remote(small_book):
    build(small_book, "-W", "--keep-going", NTK_REPOSITORY_URL="https://gitlab.com/group/course")
    page = built_page(small_book)
    assert 'href="https://gitlab.com/group/course"' in page
    assert "https://mybinder.org/v2/gl/group%2Fcourse/main?urlpath=lab/tree/book/index.md" in page


def test_without_a_public_remote_there_are_no_dead_buttons(small_book):
    git(small_book, "init")
    git(small_book, "remote", "add", "origin", str(ROOT))
    build(small_book, "-W", "--keep-going")
    page = built_page(small_book)
    for trace in ("mybinder", "github.com", "repository-button", "launch-buttons"):
        assert trace not in page
    assert 'href="../_sources/book/index.ipynb"' in page


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://user:secret@github.com/owner/name", "https://github.com/owner/name"),
        ("git@github.com:owner/na.me.git", "https://github.com/owner/na.me"),
        ("ssh://git@gitlab.com:22/owner/name.git", "https://gitlab.com/owner/name"),
        ("https://example.org/owner/name", None),
        ("/home/owner/name", None),
        ("../name", None),
        ("", None),
    ],
)
def test_public_address_of_a_remote_carries_no_credentials(remote, address):
    assert course.https_address(remote) == address


def test_without_npm_the_build_says_so_and_passes(small_book, tmp_path):
    (small_book / "node_modules").unlink(missing_ok=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git"))
    log, _ = build(small_book, "-W", "--keep-going", PATH=str(tools))
    assert "npm is not installed" in log
    assert re.search(r'src="https://\S+/mathjax@3/', built_page(small_book))


def test_broken_cell_fails_the_build(small_book):
    page = small_book / "book" / "index.md"
    page.write_text(page.read_text().replace("import os", "1 / 0"))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        build(small_book)


def test_ci_runs_make_test_and_passes_its_exit_status(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    for status in (0, 1):
        (tmp_path / "Makefile").write_text(f"test:\n\t@exit {status}\n")
        done = subprocess.run(
            ["bash", ".ci/run"], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode == 0) == (status == 0)
