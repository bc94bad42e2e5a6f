"""Code that is the same under other names is found, other code is not, and no text stops the comparison."""

from __future__ import annotations

import inspect
import random
import re
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exercises.grading import similarity
from exercises.grading.similarity import fingerprint, groups
from tests.exercises.attempts import ntk_matrix as attempts
from tests.exercises.grading.made import PROBLEM, solution_cells

STUBS = list(PROBLEM.stubs.values())
CODE = '''
def loss(model, inputs, targets, weights=None):
    """Mean of squares."""
    total = 0.0
    for x, y in zip(inputs, targets):
        residual = model(x[None])[0] - y  # one sample
        if weights is not None:
            residual = residual * weights[int(y > 0)]
        total = total + float((residual ** 2).sum())
    scale = 2 * len(inputs)
    if scale == 0:
        raise ValueError("no inputs were given")
    return {"value": total / scale, "scale": scale, "name": "half the mean of squares"}
'''


def _similarity(one: list[int], other: list[int]) -> float:
    a, b = set(one[2:]), set(other[2:])
    return len(a & b) / len(a | b)


def _renamed(code: str, **names: str) -> str:
    for old, new in names.items():
        code = re.sub(rf"(?<![.\w\"]){old}\b", new, code)
    return code


@pytest.mark.parametrize(
    "disguise",
    {
        "other names": lambda c: _renamed(c, total="s", residual="delta", x="sample", scale="n", y="label"),
        "comments": lambda c: c.replace("\n    ", "\n    # step\n    ", 3) + "# done\n",
        "docstring": lambda c: c.replace('"""Mean of squares."""', "'''My own\n    words.'''\n"),
        "white space": lambda c: c.replace(" = ", "=").replace("\n    ", "\n\n        ").replace(", ", " , "),
        "continued lines": lambda c: c.replace(" - y", " \\\n            - y"),
        "line ends": lambda c: c.replace("\n", "\r\n"),
        "semicolons": lambda c: c.replace("total = 0.0\n", "total = 0.0;\n"),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_a_disguise_that_changes_no_token_leaves_the_code_the_same(disguise):
    changed = disguise[1](CODE)
    assert changed != CODE
    assert fingerprint([changed]) == fingerprint([CODE])


def test_stub_text_does_not_count():
    solved = solution_cells()
    assert fingerprint(STUBS, STUBS)[0] == 0
    with_stubs = [f"{stub}\n{code}" for stub, code in zip(STUBS, solved, strict=False)]
    assert fingerprint(with_stubs, STUBS) == fingerprint(solved, STUBS)


def test_cells_may_be_split_otherwise():
    first, second = CODE.split("    scale =")
    assert fingerprint([first, f"    scale ={second}"]) == fingerprint([CODE])


def test_one_inserted_line_leaves_long_code_nearly_the_same():
    code = "\n".join(solution_cells())
    changed = code.replace("    rows = []\n", "    count = 0\n    rows = []\n")
    assert changed != code
    share = _similarity(fingerprint([code], STUBS), fingerprint([changed], STUBS))
    assert similarity.NEAR < share < 1


def test_independent_solutions_of_one_function_are_not_near():
    """Other ways to solve task 1, by other people in the same style: the nearest of them are far from NEAR."""
    names = ("pair_by_pair", "by_backward", "by_torch_func", "that_keeps_its_graph")
    prints = [fingerprint([inspect.getsource(getattr(attempts, name))]) for name in names]
    shares = [_similarity(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert max(shares) < similarity.NEAR / 2


def test_groups_name_copies_and_near_copies_and_leave_the_others():
    code = "\n".join(solution_cells())
    copy = _renamed(code, rows="r", jacobian="J", start="origin", direction="step")
    edited = code.replace("    rows = []\n", "    count = 0\n    rows = []\n")
    own = "\n".join(inspect.getsource(getattr(attempts, name)) for name in ("by_backward", "pair_by_pair"))
    sources = {"d": code, "a": copy, "c": edited, "b": own}
    identical, near = groups((name, fingerprint([text], STUBS)) for name, text in sources.items())
    assert [group.members for group in identical] == [("a", "d")]
    assert [group.members for group in near] == [("a", "c", "d")]
    assert similarity.NEAR <= near[0].least < 1


def test_short_code_is_not_compared():
    short = fingerprint(["def f(x):\n    return x @ x.T\n"])
    assert 0 < short[0] < similarity.SHORTEST
    assert groups([("a", short), ("b", short)]) == ([], [])


def test_order_of_submissions_changes_nothing():
    rng = random.Random(0)
    prints = [(f"s{i}", fingerprint([CODE.replace("2 *", f"{i // 2} *")])) for i in range(20)]
    expected = groups(prints)
    assert len(expected[0]) == 10
    for _ in range(3):
        rng.shuffle(prints)
        assert groups(prints) == expected


HOSTILE = {
    "quotes": "'" * 10**6,
    "open string": '"""' + "a\n" * 500_000,
    "backslashes": "\\" * 10**6,
    "continuations": "\\\n" * 500_000,
    "brackets": "(" * 10**6,
    "nulls": "\x00" * 10**6,
    "surrogates": "\ud800" * 10**6,
    "numbers": "1." * 500_000,
    "attributes": "a." * 500_000,
    "blank": " " * 10**6,
    "lines": "\n" * 10**6,
    "escaped quotes": '"\\' * 500_000,
    "prefixes": "rb" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_has_a_small_fingerprint_soon(name, record_property):
    start = time.process_time()
    numbers = fingerprint([HOSTILE[name]])
    record_property(f"measured seconds, {name}", round(time.process_time() - start, 2))
    assert len(numbers) <= similarity.MOST + 2
    assert numbers[0] <= 2 * similarity.LONGEST


def test_answers_are_compared_by_their_words():
    one, other = "The *bound* is $m^{-1/2}$.", "the bound IS: m -1 / 2"
    assert similarity.text_fingerprint([one]) == similarity.text_fingerprint([other])
    assert similarity.text_fingerprint([one]) != similarity.text_fingerprint(["The bound is m^-1."])


@given(st.text(), st.text())
def test_any_text_has_a_fingerprint_that_survives_packing(source, given_before):
    numbers = fingerprint([source], [given_before])
    assert all(isinstance(number, int) and 0 <= number < 2**48 for number in numbers)
    assert similarity.Fingerprint.unpack(numbers).pack() == numbers


@given(st.text(alphabet="ab =+()[]:.,\n'\"#\\1"))
def test_trailing_white_space_and_comments_never_matter(source):
    code = textwrap.dedent(CODE)
    assert fingerprint([code, source]) == fingerprint([code + "  # x\n\n", source])


def test_a_thousand_submissions_are_compared_in_seconds(record_property):
    rng = random.Random(0)
    common = [rng.getrandbits(48) for _ in range(100)]
    prints = [
        (f"s{i}", [200, i, *sorted(rng.sample(common, 60) + [rng.getrandbits(48) for _ in range(90)])])
        for i in range(1000)
    ]
    start = time.process_time()
    assert groups(prints) == ([], [])
    record_property("measured seconds for 1000 submissions", round(time.process_time() - start, 2))
