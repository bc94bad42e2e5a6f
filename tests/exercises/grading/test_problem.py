"""A problem is read from its notebook and the module beside it; what does not fit together is an error."""

from __future__ import annotations

import numpy as np
import pytest

from exercises.grading.problem import Check, Problem, all_problems, load

MODULE = """
from exercises.grading.problem import Check
PACKAGES = ("numpy",)
CPU_SECONDS = 5
def checks(rng):
    yield Check("ntk-matrix", (rng.standard_normal(3),))
"""


@pytest.fixture
def copy_of_ntk_matrix(tmp_path):
    """A problem whose module can be changed: notebook of definition/ntk_matrix, module as given."""

    def make(module: str) -> Problem:
        folder = tmp_path / "definition"
        folder.mkdir(exist_ok=True)
        path = folder / "ntk_matrix.ipynb"
        path.write_bytes(load("ntk_matrix").path.read_bytes())
        path.with_suffix(".py").write_text(module, "utf-8")
        return Problem(path)

    return make


def test_tasks_have_the_points_and_titles_of_the_notebook():
    problem = load("definition/ntk_matrix")
    assert {task.id: (task.points, task.kind, task.function) for task in problem.tasks.values()} == {
        "ntk-matrix": (4, "code", "ntk_matrix"),
        "ntk-blocks": (3, "code", "ntk_blocks"),
        "linear-prediction": (3, "code", "linear_prediction"),
        "linearization-error": (3, "code", "linearization_error"),
        "answer": (4, "answer", None),
    }
    assert problem.tasks["ntk-matrix"].title == "Task 1: the NTK matrix"
    assert problem.max_score == 17
    assert problem.title == "The NTK matrix, and how good the linearised network is"


def test_locked_cells_and_stubs_are_those_of_the_released_notebook():
    problem = load("ntk_matrix")
    assert "from exercises import kit" in problem.setup[0]
    assert {"setup", "check-ntk-matrix", "sweep", "figure"} <= problem.locked.keys()
    assert problem.stubs.keys() == problem.tasks.keys()
    assert "NotImplementedError" in problem.stubs["ntk-matrix"]
    assert problem.stubs["answer"] == "YOUR ANSWER HERE"


@pytest.mark.parametrize("slug", all_problems())
def test_hidden_inputs_and_expected_values_are_the_same_for_the_same_seed(slug):
    problem = load(slug)
    again = Problem(problem.path)
    for one, two in zip(problem.checks(5), again.checks(5), strict=True):
        assert problem.call(one) == again.call(two)


def test_expected_values_are_finite_arrays_and_depend_on_the_seed():
    problem = load("ntk_matrix")
    one, two = problem.expected(1), problem.expected(2)
    assert all(np.isfinite(value).all() for value in one)
    assert not np.allclose(one[0], two[0])


def test_an_unknown_problem_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="expected one of .*ntk_matrix.*got 'ntk-matrix'"):
        load("ntk-matrix")


def test_checks_for_some_tasks_only_are_an_error(copy_of_ntk_matrix):
    with pytest.raises(ValueError, match="checks for .'ntk-matrix'., tasks are"):
        copy_of_ntk_matrix(MODULE).checks(0)


def test_a_reference_solution_that_fails_on_a_check_is_an_error(copy_of_ntk_matrix):
    others = "\n".join(
        f'    yield Check("{name}", (1,))'
        for name in ("ntk-blocks", "linear-prediction", "linearization-error")
    )
    with pytest.raises(ValueError, match="the reference solution of ntk-matrix gave"):
        copy_of_ntk_matrix(MODULE + others).expected(0)


def test_the_digest_changes_with_the_notebook_and_with_the_hidden_checks(copy_of_ntk_matrix):
    first = copy_of_ntk_matrix(MODULE).digest
    assert copy_of_ntk_matrix(MODULE).digest == first
    assert copy_of_ntk_matrix(MODULE + "\n").digest != first
    problem = copy_of_ntk_matrix(MODULE)
    problem.path.write_text(problem.path.read_text("utf-8").replace("the NTK matrix", "the matrix"), "utf-8")
    assert Problem(problem.path).digest != first


def test_a_check_is_only_data():
    check = Check("ntk-matrix", (1.0,))
    assert check == Check("ntk-matrix", (1.0,))
    assert check.repeat == 1
