"""Calls of learners' functions in the sandbox: what is answered, and that hidden inputs come back in no other way."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch

from exercises import kit
from exercises.grading import sandbox, wire
from exercises.grading.limits import GIB, MIB, Limits

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")

LIMITS = Limits(cpu_seconds=20, memory=GIB)
MISSING = {"missing": True}


def run(cells: str, *calls, limits: Limits = LIMITS, **options) -> sandbox.Run:
    """Run one cell, then call functions, each given as its name and its arguments."""
    sent = [wire.encode_call(name, arguments) for name, *arguments in calls]
    return sandbox.run([cells], sent, packages=("numpy", "torch"), limits=limits, **options)


def values(result: sandbox.Run) -> list:
    """The decoded answers, or what came instead of a value."""
    return [wire.decode_answer(item["value"]) if "value" in item else item for item in result.answers]


HARMLESS = "anything that wire.decode_answer takes"
ANSWERS = {
    "a tensor": ("def NAME(x): return x.T @ x", [torch.tensor([[1.0, 2.0]])], [[1, 2], [2, 4]]),
    "a tensor with a gradient": (
        "def NAME(m, x): return m(x).sum()",
        [kit.Wave(2.0, 0.0), torch.ones(3, 1)],
        6,
    ),
    "an array in float32": ("def NAME(x): return np.float32(x) / 2", [np.arange(3.0)], [0, 0.5, 1]),
    "a list of numbers": ("def NAME(n): return [1] * n", [2], [1, 1]),
    "a function given by name": ("def NAME(phi): return phi(torch.zeros(2))", [torch.tanh], [0, 0]),
    "a coroutine": ("async def NAME(): return 3", [], "not numbers"),
    "text": ("def NAME(): return 'secret'", [], "not numbers"),
    "too many numbers": ("def NAME(): return np.zeros(10**6)", [], "too large"),
    "nothing": ("def NAME(): pass", [], None),
    "an array that lies": (
        "class Lie(np.ndarray):\n    shape = (7,)\n    def tolist(self): return ['x']\n"
        "def NAME(): return np.ones(2).view(Lie)",
        [],
        HARMLESS,
    ),
    "an object that becomes no array": (
        "class Trap:\n    def __array__(self, *a, **k): raise SystemExit\ndef NAME(): return Trap()",
        [],
        HARMLESS,
    ),
    "a number that is called a function": ("NAME = 3", [], {"undefined": True}),
    "an error with a message": (
        "def NAME(x): raise ValueError(f'secret {x}')",
        [3.0],
        {"error": "ValueError"},
    ),
    "an error of one's own": ("class E(KeyError): pass\ndef NAME(): raise E", [], {"error": "KeyError"}),
    "the end of the process": ("def NAME(): raise SystemExit('secret')", [], {"error": "SystemExit"}),
    "recursion without end": ("def NAME(): return NAME()", [], {"error": "RecursionError"}),
    "wrong arguments": ("def NAME(): return 1", [1], {"error": "TypeError"}),
    "input": ("def NAME(): return input('x')", [], {"error": "EOFError"}),
}


@pytest.fixture(scope="module")
def answered() -> dict:
    """All these answers, from functions in one sandbox."""
    cells = [source.replace("NAME", f"f{k}") for k, (source, _, _) in enumerate(ANSWERS.values())]
    calls = [wire.encode_call(f"f{k}", arguments) for k, (_, arguments, _) in enumerate(ANSWERS.values())]
    result = sandbox.run(["import numpy as np, torch", *cells], calls, limits=LIMITS)
    assert result.stopped is None
    assert {cell.error for cell in result.cells} == {None}
    return dict(zip(ANSWERS, values(result), strict=True))


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_call_answers_with(kind, answered):
    expected = ANSWERS[kind][2]
    if isinstance(expected, (int, list)):
        np.testing.assert_allclose(answered[kind], expected)
    elif expected is HARMLESS:
        assert answered[kind] is None or isinstance(answered[kind], (str, dict, np.ndarray))
    else:
        assert answered[kind] == expected


def test_calls_start_from_the_same_random_numbers_and_keep_the_learners_settings():
    cell = (
        "import random, numpy as np, torch\ntorch.set_default_dtype(torch.float64)\nkept = []\n"
        "def draw(): return [random.random(), np.random.rand(), torch.rand(()).item()]\n"
        "def kind(): return float(torch.ones(()).dtype == torch.float64)\n"
        "def count(x): kept.append(x); return len(kept)\ndef threads(): return torch.get_num_threads()"
    )
    result = run(cell, ("draw",), ("draw",), ("kind",), ("count", 1), ("count", 1), ("threads",))
    first, second, *others = values(result)
    np.testing.assert_array_equal(first, second)
    assert [float(value) for value in others] == [1, 1, 2, 1]


def test_what_was_answered_before_a_crash_counts():
    result = run(
        "import os\ndef f(x):\n    if x > 1: os._exit(1)\n    return x", *[("f", float(k)) for k in range(4)]
    )
    assert result.stopped == "died"
    assert [float(value) for value in values(result)[:2]] == [0, 1]
    assert result.answers[2:] == [MISSING] * 2


def test_what_was_answered_before_the_end_of_the_time_counts():
    limits = Limits(cpu_seconds=0.5, memory=GIB)
    result = run(
        "def f(x):\n    while x > 0: pass\n    return x", ("f", 0.0), ("f", 1.0), ("f", 0.0), limits=limits
    )
    assert result.stopped == "cpu time"
    assert (float(values(result)[0]), result.answers[1:]) == (0, [MISSING] * 2)


def test_the_import_of_torch_takes_none_of_the_learners_time():
    result = run(
        "import torch\nx = torch.ones(3) @ torch.ones(3)", ("f",), limits=Limits(cpu_seconds=0.4, memory=GIB)
    )
    assert (result.stopped, result.answers) == (None, [{"undefined": True}])


def test_answers_beyond_the_allowed_output_end_the_notebook():
    result = run(
        "import numpy as np\ndef f(n): return np.arange(n) / 3",
        ("f", 10),
        ("f", 100_000),
        limits=Limits(memory=GIB, output=MIB),
    )
    assert (result.stopped, result.answers[1]) == ("output", MISSING)
    np.testing.assert_allclose(values(result)[0], np.arange(10) / 3)


def test_only_names_of_builtin_errors_come_back_even_when_forged():
    cell = (
        "import os, json\ndef f(x):\n    line = json.dumps({'error': f'hidden input {x}'}) + chr(10)\n"
        "    for pipe in map(int, os.listdir('/proc/self/fd')):\n"
        "        try: os.write(pipe, line.encode())\n        except OSError: pass\n    os._exit(0)"
    )
    result = run(cell, ("f", 1.5), ("f", 2.5))
    assert (result.stopped, result.answers) == ("died", [{"error": "Exception"}, MISSING])


PATCHED = """
import builtins, json, os, time, random, sys
import numpy as np, torch
np.array = np.asarray = torch.Tensor.detach = torch.Tensor.numpy = lambda *a, **k: 1 / 0
json.dumps = json.loads = lambda *a, **k: '{"value": {"array": {"shape": [], "data": [42]}}}'
builtins.isinstance = lambda *a: True
builtins.len = lambda x: 7
os.write = lambda pipe, data: 7
time.process_time = time.monotonic = lambda: 0.0
sys.stdout = sys.stderr = None
get_ipython().input_transformers_cleanup.append(lambda lines: ["raise SystemExit"])
get_ipython().ast_transformers.append(None)
get_ipython().run_cell = None
def f(x): return x
"""


@pytest.mark.parametrize("line", PATCHED.strip().splitlines()[2:-1])
def test_a_learner_who_patches_the_program_inside_ends_only_that(line):
    limits = Limits(cpu_seconds=5, wall_seconds=3, memory=GIB, output=MIB)
    cells = [PATCHED.strip().splitlines()[0], line, "x = 1", "def f(x): return x"]
    result = sandbox.run(cells, packages=("numpy",), limits=limits)
    assert result.stopped in (None, "died", "malformed", "wall time", "output")
    assert all(cell.error is None or len(cell.error) < 101 for cell in result.cells)


def test_everything_patched_at_once_gives_no_answer_that_was_not_asked_for():
    result = run(PATCHED, ("f", 3.0), ("f", 4.0), limits=Limits(cpu_seconds=5, wall_seconds=3, memory=GIB))
    assert len(result.answers) == 2
    assert result.stopped or all(math.isfinite(float(value)) for value in values(result))


def test_a_plain_process_gives_the_same_answers_for_ones_own_notebooks():
    source = "import torch\ndef f(x): return x @ x\ndef g(x): raise KeyError(x)"
    calls = [("f", torch.eye(2)), ("g", 1), ("h", 1)]
    inside, plain = run(source, *calls), run(source, *calls, sandboxed=False)
    assert inside.answers == plain.answers
    assert inside.answers[1:] == [{"error": "KeyError"}, {"undefined": True}]
    assert plain.stopped is None


def test_a_plain_process_has_limits_too_and_leaves_no_children():
    cell = "import os, time\npid = os.fork()\nwhile True: pass"
    result = sandbox.run([cell], packages=(), limits=Limits(cpu_seconds=0.5), sandboxed=False)
    assert (result.stopped, result.cells) == ("cpu time", [])
