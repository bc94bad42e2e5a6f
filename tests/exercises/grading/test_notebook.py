"""Hostile bytes become cells or a typed rejection; the cells that run are the learner's own, whatever the marks say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exercises.grading import notebook
from exercises.grading.notebook import NotebookError, plan, read
from tests.exercises.grading import samples
from tests.exercises.grading.samples import NTK, code, filled_in, text

SETUP = list(NTK.setup)
STUB = NTK.stubs["ntk-matrix"]
CHECK = NTK.locked["check-ntk-matrix"]
ONE = [code("x = 1")]


def own_cells(content: bytes) -> list[str]:
    """What runs after the problem's own set-up."""
    cells = plan(read(content), NTK).cells
    assert cells[: len(SETUP)] == SETUP
    return cells[len(SETUP) :]


def answers(*cells: dict) -> dict[str, str]:
    """Written answers of a notebook with these cells."""
    return plan(read(samples.notebook(cells)), NTK).answers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b" \n", "empty file"),
        (b"%PDF-1.7", "not a notebook: the file is no JSON"),
        (samples.notebook(ONE)[:-20], "not a notebook: the file is no JSON"),
        (b"\xff\xfe\xfd\xfc", "not a notebook"),
        (b'{"cells": "\xe9"}', "not a notebook: the file is not UTF-8"),
        (b"[]", "not a notebook: its JSON is not an object"),
        (b"null", "not a notebook"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"nbformat": ' + b"9" * 100_000 + b"}", "a number in its JSON is too long"),
        (b"[" + b"[]," * 3_000_000 + b"0]", "too complex"),
        (b"{}", "names no nbformat"),
        (samples.notebook(ONE, nbformat="4"), "names no nbformat"),
        (samples.notebook(ONE, nbformat=True), "names no nbformat"),
        (samples.notebook(ONE, nbformat=3), "old format: nbformat 3; open it in JupyterLab and save it"),
        (samples.notebook(ONE, nbformat=5), "unknown format: nbformat 5"),
        (b'{"nbformat": 4}', "no list of cells"),
        (samples.notebook([]), "no cells"),
        (samples.notebook([], cells={"0": {}}), "no list of cells"),
        (samples.notebook(ONE * 2001), "too many cells"),
        (samples.notebook([None]), "cell 1 of 1 is no cell"),
        (samples.notebook([*ONE, {"source": "x"}]), "cell 2 of 2 is no cell"),
        (samples.notebook([{"cell_type": "code"}]), "cell 1 of 1 is no cell"),
        (samples.notebook([{"cell_type": ["code"], "source": "x"}]), "cell 1 of 1 is no cell"),
        (samples.notebook([{"cell_type": "code", "source": {"x": 1}}]), "cell 1 of 1 is no cell"),
        (samples.notebook([{"cell_type": "code", "source": ["x", 1]}]), "cell 1 of 1 is no cell"),
        (samples.notebook([code("x" * 600_000)] * 2), "too much code"),
        (samples.notebook(ONE, metadata={"kernelspec": {"language": "R"}}), "the notebook is for R"),
        (samples.notebook(ONE, metadata={"language_info": {"name": "julia"}}), "the notebook is for julia"),
        (samples.notebook(ONE, metadata={"kernelspec": {"name": "ir"}}), "the notebook is for R"),
        (samples.notebook(ONE, metadata={"kernelspec": {"name": "julia-1.11"}}), "the notebook is for Julia"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_notebook_is_rejected_with_a_kind_and_a_sentence(content, message):
    with pytest.raises(NotebookError, match=message) as caught:
        read(content)
    kind, _, sentence = str(caught.value).partition(": ")
    assert kind
    assert sentence
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [
        samples.notebook(ONE, nbformat_minor=0),
        samples.notebook(ONE, nbformat_minor=99),
        samples.notebook(ONE, metadata={}),
        samples.notebook(ONE, metadata=["hostile"]),
        samples.notebook(ONE, metadata={"kernelspec": "x", "language_info": {"name": 3}}),
        samples.notebook(ONE, metadata={"kernelspec": {"name": "conda-env-ntk-py", "language": "python"}}),
        samples.notebook(ONE, metadata={"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}),
        samples.notebook([{"cell_type": "code", "source": "x = 1"}]),
        samples.notebook([{"cell_type": "code", "source": ["x", " = 1"], "metadata": None}]),
        samples.notebook([{"cell_type": "raw", "source": ""}, {"cell_type": "sql", "source": ""}, *ONE]),
        b"\xef\xbb\xbf" + samples.notebook(ONE),
        samples.notebook(ONE).decode().encode("utf-16"),
    ],
)
def test_what_tools_do_to_notebooks_is_no_reason_to_reject_one(content):
    assert own_cells(content) == ["x = 1"]


def test_line_ends_and_lone_surrogates_are_mended():
    cells = [{"cell_type": "code", "source": "a = 1\r\nb = '\\ud800'\rc = 3"}]
    content = json.dumps({"cells": cells, "nbformat": 4}).replace("\\\\ud800", "\\ud800").encode()
    assert own_cells(content) == ["a = 1\nb = '?'\nc = 3"]


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "cells",
                        "metadata",
                        "nbformat",
                        "cell_type",
                        "source",
                        "nbgrader",
                        "grade_id",
                        "attachments",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_any_json_is_cells_or_a_rejection(content, dressed):
    if dressed:
        content = {"nbformat": 4, "cells": content if isinstance(content, list) else [content]}
    try:
        plan(read(json.dumps(content).encode()), NTK)
    except NotebookError:
        pass


def test_solved_notebook_runs_setup_and_the_solutions_only():
    assert own_cells(filled_in()) == list(samples.FUNCTIONS.values())


def test_released_notebook_runs_nothing_and_every_task_is_untouched():
    found = plan(read(filled_in({})), NTK)
    assert found.cells == SETUP
    assert found.untouched == set(samples.SOLVED) - {"answer"}
    assert found.answers == {}


def test_errors_are_traced_to_the_cell_of_the_notebook():
    cells = samples.released()
    where = next(i for i, cell in enumerate(cells) if "".join(cell["source"]) == STUB)
    cells[where] = code("ntk_matrix = None")
    found = plan(read(samples.notebook(cells)), NTK)
    assert found.places == [-1] * len(SETUP) + [where]


@pytest.mark.parametrize(
    "strip",
    [
        lambda cell: cell | {"metadata": {}},
        lambda cell: {"cell_type": cell["cell_type"], "source": "".join(cell["source"])},
        lambda cell: cell | {"source": [line.rstrip() + "  \n" for line in cell["source"]]},
    ],
    ids=["no metadata", "bare", "white space"],
)
def test_checks_and_stubs_are_known_without_their_marks(strip):
    cells = [*map(strip, samples.released()), code("helper = 1")]
    found = plan(read(samples.notebook(cells)), NTK)
    assert found.cells == [*SETUP, "helper = 1"]
    assert len(found.untouched) == 4


def test_changed_check_is_left_out_and_a_copy_that_defines_something_runs():
    changed = code(CHECK + "\nprint('done')", "check-ntk-matrix")
    copied = code("def helper(x):\n    return x", "check-ntk-matrix")
    assigned = code("ntk_matrix = lambda model, x: x", "check-ntk-matrix")
    assert own_cells(samples.notebook([changed, copied, assigned])) == [
        "def helper(x):\n    return x",
        "ntk_matrix = lambda model, x: x",
    ]


def test_setup_that_the_learner_added_to_runs_after_ours():
    added = SETUP[0] + "\nimport math"
    assert own_cells(samples.notebook([code(added, "setup")])) == [added]
    assert own_cells(samples.notebook([code(SETUP[0], "setup")])) == []


def test_own_cells_run_in_their_order_whatever_mark_they_carry():
    cells = [
        code("a = 1"),
        code("b = 2", "ntk-blocks"),
        code("c = 3", "no such cell"),
        code(STUB),
        code("d = 4"),
    ]
    assert own_cells(samples.notebook(cells)) == ["a = 1", "b = 2", "c = 3", "d = 4"]


ANSWER = NTK.stubs["answer"]
QUESTION = next(cell for cell in samples.released() if "Task 5" in "".join(cell["source"]))


def test_written_answer_is_found_by_its_mark_with_the_cells_added_after_it():
    assert answers(text("Because.", "answer")) == {"answer": "Because."}
    assert answers(
        text(f"{ANSWER}\n\nBecause.", "answer"), text("Also so."), code("x = 1"), text("And.")
    ) == {"answer": "Because.\n\nAlso so.\n\nAnd."}


def test_answer_ends_at_the_next_known_cell():
    known = next(cell for cell in samples.released() if "Task 2" in "".join(cell["source"]))
    assert answers(text("Because.", "answer"), known, text("A note.")) == {"answer": "Because."}


def test_answer_whose_mark_was_lost_is_found_after_its_question():
    bare = {"cell_type": "markdown", "metadata": {}, "source": QUESTION["source"]}
    assert answers(bare, text("Because."), text("Also.")) == {"answer": "Because.\n\nAlso."}


def test_answer_that_was_split_or_copied_is_joined():
    assert answers(text("One.", "answer"), text("Two.", "answer")) == {"answer": "One.\n\nTwo."}


def test_no_answer_is_none():
    assert answers(text(ANSWER, "answer")) == {}
    assert answers(text(f"\n{ANSWER} \n", "answer")) == {}
    assert answers(QUESTION, text("", "answer")) == {}
    assert answers(code("x = 1")) == {}


def test_pictures_in_an_answer_are_mentioned_and_very_long_answers_cut():
    cell = text("See:", "answer") | {"attachments": {"proof.png": {"image/png": "AAAA"}}}
    assert answers(cell) == {"answer": "See:\n\n[picture in the notebook: proof.png]"}
    assert len(answers(text("x" * 10**6, "answer"))["answer"]) < 101_000


def test_names_are_read_off_the_text_and_never_compiled():
    source = "async def a(): pass\n  class B: ...\nc = 1\nd: int = 2\ne == 3\n" + "(" * 100_000 + "\ndef f"
    assert notebook.defined_names([source]) == ["B", "a", "c", "d", "f"]
