"""A real JupyterLab: a chapter opens as a notebook, runs, and its sliders compute what was never listed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .conftest import ROOT

SMALL = """---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# Small

```{code-cell}
from ntklab import plotting
from ntklab.explorer import explorer


def draw(width, mode):
    figure, axes = plotting.figure()
    axes.plot([0, width], **plotting.series(0))
    axes.set_title(mode)
    return figure


explorer(draw, alt="To {width}, {mode}", width=[16, 64, 256], mode=["first", "second"])
```
"""
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
CHAPTER = "book/foundations/definition"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """JupyterLab set up as ``binder/postBuild`` does: its folder, and its address with ``{}`` for a path."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "NTKLAB_STATIC"} | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    set_default_viewer(home / "config", environment)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ip=127.0.0.1", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with open(home / "log.txt", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, home / "log.txt")
            yield folder, f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def set_default_viewer(config: Path, environment: dict) -> None:
    command = Path(sys.executable).with_name("jupytext-config")
    subprocess.run([command, "set-default-viewer"], env=environment, check=True, capture_output=True)
    overrides = config / "labconfig" / "default_setting_overrides.json"
    overrides.write_text(json.dumps(json.loads(overrides.read_text()) | SETTINGS))


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-4000:]}")


def run_all(page) -> None:
    """Run all cells of the open notebook by the menu, as a reader does, and wait for the first explorer."""
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
    page.locator(".ntk-explorer-live img").first.wait_for(timeout=120_000)


def picture(explorer) -> str:
    """A short name of the frame that is shown, and the same only for the same picture."""
    return hashlib.sha256(explorer.locator("img").get_attribute("src").encode()).hexdigest()[:12]


def move_to_new_value(page, explorer, listed: set[str]) -> str | None:
    """Press an arrow on each slider until one stands at a value that is not listed; that value."""
    for slider in explorer.locator(".widget-hslider").all():
        handle, readout = slider.locator(".noUi-handle"), slider.locator(".widget-readout")
        before = readout.inner_text()
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "([node, was]) => node.innerText !== was", arg=[readout.element_handle(), before]
        )
        if readout.inner_text() not in listed:
            return readout.inner_text()
    return None


def words(explorer) -> str:
    return explorer.locator("img").get_attribute("alt")


def test_slider_in_jupyterlab_computes_a_frame_for_a_value_that_was_not_listed(lab, open_page):
    folder, address = lab
    (folder / "small.md").write_text(SMALL)
    seen = open_page(address.format("small.md"))
    run_all(seen.page)
    explorer = seen.page.locator(".ntk-explorer-live").first
    pictures = [picture(explorer)]
    value = move_to_new_value(seen.page, explorer, {"16", "64", "256"})
    assert value is not None
    expect(explorer.locator("img")).to_have_attribute("alt", f"To {value}, first", timeout=60_000)
    pictures.append(picture(explorer))
    explorer.locator("select").select_option("second")
    expect(explorer.locator("img")).to_have_attribute("alt", f"To {value}, second", timeout=60_000)
    pictures.append(picture(explorer))
    assert len(set(pictures)) == 3
    assert [fault for fault in seen.faults if fault.startswith("external")] == []


def test_chapter_runs_in_jupyterlab_and_shows_a_frame_that_its_page_does_not_hold(lab, built_book, open_page):
    folder, address = lab
    shutil.copy(ROOT / f"{CHAPTER}.md", folder / "chapter.md")
    built = (built_book / f"{CHAPTER}.html").read_text()
    found = re.findall(r'<script type="application/json">(\{"frames".*?)</script>', built, re.S)
    seen = open_page(address.format("chapter.md"))
    run_all(seen.page)
    for number, data in enumerate(map(json.loads, found)):
        explorer = seen.page.locator(".ntk-explorer-live").nth(number)
        explorer.locator("img").wait_for(timeout=120_000)
        before = words(explorer)
        listed = {value for values in data["values"] for value in values}
        if move_to_new_value(seen.page, explorer, listed) is None:
            continue
        expect(explorer.locator("img")).not_to_have_attribute("alt", before, timeout=60_000)
        assert explorer.locator("img").get_attribute("src") not in built
        return
    pytest.fail(f"no slider of {CHAPTER} takes a value that its page does not hold")
