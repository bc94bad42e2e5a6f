"""Names that students chose are shown safely, and different ones stay different."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exercises.grading.names import meant, safe_name, shown, unsafe_characters
from tests.exercises.grading.packing import SETS


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("alice", "alice"),
        ("Ana-Maria O.", "Ana-Maria O-"),
        ("José Ñandú 你好 नमस्ते", "José Ñandú 你好 नमस्ते"),
        ("me+you@example.org", "me+you@example.org"),
        ("<script>", "_script_-"),
        ("a/../b", "a_.._b-"),
        ("..", "_-"),
        ("", "_-"),
        ("CON", "CON-"),
        ("x" * 500, "x" * 60 + "-"),
    ],
)
def test_folder_name_is_safe_on_any_system(name, folder):
    made = safe_name(name)
    assert made == folder or (
        folder.endswith("-") and len(made) == len(folder) + 8 and made.startswith(folder)
    )


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_different_names_are_shown_differently_and_get_different_folders(names):
    assert shown(names[0]) != shown(names[1])
    assert not any(unsafe_characters(shown(name)) for name in names)
    one, two = (unicodedata.normalize("NFC", name) for name in names)
    assert one == two or safe_name(names[0]) != safe_name(names[1])
    assert all(
        "/" not in safe_name(name) and safe_name(name).strip(". ") == safe_name(name) for name in names
    )


def test_name_made_to_look_like_anothers_folder_does_not_get_it():
    folder = safe_name("b<ob")
    assert safe_name(folder) != folder


@pytest.mark.parametrize("file", ["homework.ipynb", "Untitled1.ipynb", "report.pdf"])
def test_file_that_resembles_no_problem_is_not_guessed(file):
    assert meant(file, SETS) is None
