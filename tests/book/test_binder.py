"""What mybinder would build from this repository, planned with its own library and without docker."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from repo2docker.app import Repo2Docker

from .conftest import ROOT, copy_sources, pages

IMPORT_NAMES = {"pillow": "PIL", "scikit-learn": "sklearn", "pytorch-cpu": "torch"}


@pytest.fixture
def plan(tmp_path, monkeypatch) -> tuple[str, str]:
    """Name of the build pack that mybinder chooses, and the image recipe that it makes."""
    root = copy_sources(tmp_path / "course", ("binder", "requirements.txt", "pyproject.toml"))
    monkeypatch.chdir(root)
    app = Repo2Docker()
    packs = (pack(base_image=app.base_image) for pack in app.buildpacks)
    chosen = next(pack for pack in packs if pack.detect())
    chosen.platform = "linux/amd64"
    return type(chosen).__name__, chosen.render({"NB_UID": "1000", "NB_USER": "jovyan"})


@pytest.fixture
def environment() -> dict[str, str]:
    """Package -> version (possibly empty) of ``binder/environment.yml``, pip's part included."""
    dependencies = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    [from_pip] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    names = [re.split("=+", entry) for entry in dependencies if isinstance(entry, str)]
    names += [re.split("=+", entry) for entry in from_pip]
    return {name: "".join(version) for name, *version in names}


def test_mybinder_builds_from_the_conda_environment(plan):
    pack, recipe = plan
    assert pack == "CondaBuildPack"
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in recipe
    assert "-r requirements.txt" not in recipe
    assert "RUN ./binder/postBuild" in recipe


def test_environment_is_for_the_processor_alone(plan, environment):
    text = (plan[1] + " ".join(environment)).lower()
    assert "pytorch-cpu" in environment
    assert "torch" not in environment
    assert re.search("cuda|nvidia|cudnn|triton", text) is None


def test_pinned_versions_are_those_that_build_the_book(environment):
    pins = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line
    )
    pins["pytorch-cpu"] = pins["torch"]
    for name, version in environment.items():
        if name in pins:
            assert f"{pins[name]}.".startswith(f"{version}."), name


def test_environment_has_what_the_package_declares(environment):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["widgets"]]
    names = {Requirement(entry).name for entry in declared}
    # conda's pytorch-cpu is the package torch; ipython comes with the notebook server that mybinder adds
    assert names - {"torch", "ipython"} <= set(environment)


def test_environment_has_whatever_a_chapter_imports(environment):
    provided = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in environment}
    provided |= {"IPython", "ntklab", *sys.stdlib_module_names}
    for page in pages():
        missing = imports(ROOT / f"{page}.md") - provided
        assert missing == set(), page


def imports(chapter: Path) -> set[str]:
    """Top-level modules that the code cells of a chapter import."""
    cells = [cell.source for cell in jupytext.read(chapter).cells if cell.cell_type == "code"]
    code = "\n".join(
        line for cell in cells for line in cell.splitlines() if not line.lstrip().startswith(("%", "!"))
    )
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


def test_chapters_open_as_notebooks_after_the_build():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert "jupytext-config set-default-viewer" in script.read_text()
    for page in pages():
        text = (ROOT / f"{page}.md").read_text()
        if "{code-cell}" in text:
            header = yaml.safe_load(text.split("---")[1])
            assert header["jupytext"]["text_representation"]["format_name"] == "myst", page
            assert header["kernelspec"]["name"] == "python3", page
