"""Fixtures of the book: a clean copy of the sources, the book built from it once, and a server for it.

``NTK_BUILT_BOOK=_build/html pytest tests/book`` tests a book that exists already instead of building one.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def sources() -> list[Path]:
    """Files that a clone of this working copy would hold, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in listed if name and (ROOT / name).is_file()]


def copy_sources(target: Path, only: tuple[str, ...] = ("",)) -> Path:
    """Put a clean copy of the sources whose names start with one of ``only`` under ``target``."""
    for name in sources():
        if not name.as_posix().startswith(tuple(only)):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target


def build(root: Path, *arguments: str, **environment: str) -> tuple[str, float]:
    """Run ``jupyter-book build`` in ``root`` on the package in ``root``; its log and the seconds it took."""
    start = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", *arguments, "."],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = ANSI.sub("", done.stdout)
    assert done.returncode == 0, log[-20000:]
    return log, time.perf_counter() - start


def extension(name: str):
    """A Sphinx extension of the book as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[str]:
    """Every page of the table of contents, without suffix, the index first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())

    def walk(node) -> Iterator[str]:
        if isinstance(node, dict):
            if "file" in node:
                yield node["file"]
            for key in ("parts", "chapters", "sections"):
                yield from walk(node.get(key, []))
        else:
            for child in node:
                yield from walk(child)

    return [toc["root"], *walk(toc)]


@pytest.fixture(scope="session")
def clean_build(tmp_path_factory) -> dict:
    """A build from nothing in a clean copy: warnings are errors, every cell is executed.

    ``root`` of the copy, ``log``, ``seconds``, and ``passed``. It is made once for all workers.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root, result = shared / "course", shared / "course.json"
    with FileLock(f"{root}.lock"):
        if not result.exists():
            copy_sources(root)
            try:
                log, seconds = build(root, "-W", "--keep-going")
                outcome = {"passed": True, "log": log, "seconds": seconds}
            except AssertionError as failure:
                outcome = {"passed": False, "log": str(failure), "seconds": None}
            result.write_text(json.dumps(outcome))
    return {"root": root, **json.loads(result.read_text())}


@pytest.fixture(scope="session")
def book_copy(clean_build) -> Path:
    """Root of the clean copy that the book was built in."""
    if not clean_build["passed"]:
        pytest.fail("the book does not build, see test_clean_build_passes_without_warning", pytrace=False)
    return clean_build["root"]


@pytest.fixture(scope="session")
def built_book(request) -> Path:
    """Folder of the built pages (``index.html`` is in it)."""
    if given := os.environ.get("NTK_BUILT_BOOK"):
        return Path(given).resolve()
    return request.getfixturevalue("book_copy") / "_build" / "html"


@pytest.fixture(scope="session")
def book_server(built_book) -> Iterator[str]:
    """Address of a local web server for the built pages."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=built_book)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
