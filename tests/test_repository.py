"""What holds for the repository as a whole: style, pinned versions, documents that keep what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

import ntklab

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_code_follows_the_style(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_pinned_versions_lie_in_the_ranges_of_the_package():
    extras = PROJECT["optional-dependencies"].values()
    for entry in [*PROJECT["dependencies"], *(entry for extra in extras for entry in extra)]:
        requirement = Requirement(entry)
        assert requirement.specifier.contains(pins()[requirement.name]), entry


def test_package_and_project_agree_on_the_version():
    package = (ROOT / "package.json").read_text()
    assert f'"version": "{PROJECT["version"]}"' in package


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "exercises/README.md", "ntklab/data/README.md"]
)
def test_documents_name_files_that_exist(name):
    document = ROOT / name
    text = document.read_text()
    linked = [target for target in re.findall(r"\]\(([^)\s#]+)", text) if "://" not in target]
    quoted = re.findall(r"`((?:book|ntklab|exercises|tests|benchmarks|binder)/[\w./-]*)`", text)
    missing = [target for target in linked if not (document.parent / target).exists()]
    named = [target for target in quoted if not re.search("PART|NAME|SET|PROBLEM", target)]
    missing += [target for target in named if not (ROOT / target).exists()]
    assert missing == []


def test_readme_code_runs_and_gives_the_shapes_it_says():
    kernels, library = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    digits = ntklab.data.mnist(40, 10)
    names = {"x1": digits.x_train[:3], "x2": digits.x_test[:2]}
    exec(kernels.replace("width=512", "width=16"), names)
    assert names["arch"].kernel(names["x1"], names["x2"]).ntk.shape == (3, 2)
    assert ntklab.empirical_ntk(names["net"], names["x1"], names["x2"]).shape == (3, 2)

    deep = ntklab.Sequential(*[ntklab.Dense(), ntklab.ReLU()] * 2, ntklab.Dense())
    pool = np.random.default_rng(0).standard_normal((1001, 20))
    names |= {"arch": deep, "gram": deep.kernel(pool).ntk, "digits": digits.x_train}
    names |= {"labels": np.arange(40) % 2, "x": digits.x_train, "y": pool[:40, 0], "x_new": digits.x_test}
    *others, curve, network = library.strip().splitlines()
    exec("\n".join(others).replace("width=512", "width=16"), names)
    assert eval(curve.split("  #")[0], names | {"y": pool[:, 0]}).test_error.shape == (3,)
    assert eval(network, names)(torch.ones(2, 784)).shape == (2, 1)


@pytest.mark.parametrize("target", ["book", "test", "serve", "bench", "release", "lint", "clean"])
def test_make_knows_the_target(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
