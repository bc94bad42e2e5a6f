"""Which files a sandbox is given: the listed packages with what they require, and nothing else that is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from exercises.grading import mounts, sandbox

COURSE = Path(__file__).parents[3]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put distributions with one module each, their requirements and further files, into a folder of packages."""

    def install(name: str, *requires: str, files=(), origin: str | None = None) -> Path:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        (info / "METADATA").write_text(
            "\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n"
        )
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in (f"{name}.py", *files)))
        (tmp_path / f"{name}.py").touch()
        if origin:
            (info / "direct_url.json").write_text(json.dumps({"url": origin, "dir_info": {"editable": True}}))
        return tmp_path

    monkeypatch.syspath_prepend(tmp_path)
    return install


def names(*packages: str) -> set[str]:
    """Names of what is given for some packages."""
    return {path.name for path in mounts.visible(packages)}


def test_packages_come_with_what_they_require_and_no_others():
    torch, numpy = names("torch"), names("numpy")
    assert {"torch", "sympy", "mpmath", "typing_extensions.py", "IPython", "kit.py"} <= torch
    assert {"numpy", "numpy.libs", "IPython"} <= numpy
    assert not numpy & {"torch", "ntklab", "pytest", "matplotlib", "jedi", "prompt_toolkit"}
    assert not torch & {"ntklab", "pytest", "matplotlib"}


def test_of_the_course_only_the_kit_and_the_program_inside_are_given():
    given = {
        path.relative_to(COURSE) for path in mounts.visible(()) if path.is_relative_to(COURSE / "exercises")
    }
    folder = Path("exercises")
    grading = {folder / "grading" / name for name in ("__init__.py", "wire.py", "inside.py")}
    data = {folder / "data" / "mnist_10k.npz"}
    assert {path for path in given if path.suffix != ".pyc"} == {
        folder / "__init__.py",
        folder / "kit.py",
        *grading,
        *data,
    }


def test_optional_requirements_come_only_with_the_extra_that_was_asked_for(installed):
    installed("first_x", "second_x[fast] >= 1; python_version > '3'")
    installed(
        "second_x", "third_x; extra == 'fast'", "fourth_x; extra == 'slow'", "absent_x; os_name == 'nt'"
    )
    installed("third_x", "first_x")
    installed("fourth_x")
    assert {"first_x.py", "second_x.py", "third_x.py"} <= names("first_x")
    assert not names("first_x") & {"fourth_x.py", "absent_x.py"}


def test_commands_path_files_and_other_peoples_byte_code_are_left_out(installed):
    folder = installed(
        "fifth_x", files=("../../bin/fifth", "fifth_x.pth", "__pycache__/fifth_x.cpython-0.pyc")
    )
    (folder / "fifth_x.pth").write_text("/")
    (folder / "__pycache__").mkdir()
    given = {path for path in mounts.visible(("fifth_x",)) if path.is_relative_to(folder)}
    assert given == {folder / "fifth_x.py"}


def test_a_working_copy_gives_its_modules_alone(installed, tmp_path):
    copy = tmp_path / "my copy"
    (copy / "src" / "sixth_x").mkdir(parents=True)
    (copy / "secret.py").touch()
    installed("sixth_x", origin=f"file://{tmp_path}/my%20copy")
    given = {path for path in mounts.visible(("sixth_x",)) if path.is_relative_to(copy)}
    assert given == {copy / "src" / "sixth_x"}
    assert copy / "src" in mounts.search_path(("sixth_x",))


def test_the_environment_does_not_depend_on_the_graders(monkeypatch):
    before = mounts.environment(("numpy",))
    for name in ("PYTHONPATH", "HOME", "LD_PRELOAD", "OMP_NUM_THREADS", "TZ"):
        monkeypatch.setenv(name, "changed")
    assert mounts.environment(("numpy",)) == before
    assert before["OMP_NUM_THREADS"] == "1"


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
def test_the_library_of_the_course_is_there_only_when_it_is_listed():
    cells = [
        "import ntklab\nntklab.Dense()",
        "from exercises import kit\nx, y = kit.digits(4)",
        "import scipy",
    ]
    listed = sandbox.run(cells, packages=("ntklab",))
    absent = sandbox.run(cells, packages=("numpy", "torch"))
    assert [cell.error for cell in listed.cells] == [None] * 3
    assert [cell.error for cell in absent.cells] == ["ModuleNotFoundError", None, "ModuleNotFoundError"]
