"""Submissions that attack the grader: what each does, what its honest part is worth, what must become of it.

``HONEST`` solves the first task for 4 points.  A case that has it is worth 4 points at most, any other nothing.
Texts in angle brackets (<TOKEN>, <OUT>, ...) are filled in when the submissions are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.exercises.grading import samples
from tests.exercises.grading.samples import FUNCTIONS, code, filled_in, notebook, text

HONEST = FUNCTIONS["ntk-matrix"]
WORTH = 4.0
FULL = 13.0

GRADED, STOPPED, REJECTED = "graded", "stopped", "rejected"


@dataclass(frozen=True)
class Case:
    """``score``: the only one allowed; None leaves everything from 0 to ``worth``.  ``reason``: found in it."""

    content: bytes
    status: tuple[str, ...]
    score: float | None
    worth: float
    reason: str
    file: str = "ntk_matrix.ipynb"


CASES: dict[str, Case] = {}


def attack(
    name: str,
    *sources: str,
    status: str = GRADED,
    score: float | None = 0.0,
    worth: float | None = None,
    reason="",
) -> None:
    """A notebook with these code cells; worth what HONEST is worth if it is one of them."""
    worth = (WORTH if HONEST in sources else 0.0) if worth is None else worth
    CASES[name] = Case(notebook(map(code, sources)), tuple(status.split("|")), score, worth, reason)


def file(name: str, content: bytes, reason: str, called: str = "ntk_matrix.ipynb") -> None:
    """A file that is rejected."""
    CASES[name] = Case(content, (REJECTED,), 0.0, 0.0, reason, called)


def function(body: str) -> str:
    """A cell that defines ntk_matrix with this body."""
    return "def ntk_matrix(model, x):\n" + "\n".join(f"    {line}" for line in body.split("\n"))


# It never ends, or ends too early

attack("endless loop", HONEST, "while True: pass", status=STOPPED, reason="CPU time")
attack("endless loop in a call", function("while True: pass"), status=STOPPED, reason="CPU time")
attack(
    "endless loop that catches everything",
    HONEST,
    """
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    status=STOPPED,
    reason="CPU time",
)
attack(
    "ignored signals",
    HONEST,
    """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    status=STOPPED,
    reason="CPU time",
)
attack("sleep", HONEST, "import time\ntime.sleep(10**6)", status=STOPPED, reason="took too long")
attack(
    "children that burn time",
    HONEST,
    """
import os
for _ in range(4):
    if os.fork() == 0:
        while True: pass
os.wait()
""",
    status=STOPPED,
    reason="CPU time",
)
attack("long integer", HONEST, "x = 7 ** 10**9", status=STOPPED, reason="CPU time")
attack("os._exit", HONEST, "import os\nos._exit(0)", status=STOPPED, reason="ended early")
attack("os._exit in a call", function("import os\nos._exit(0)"), status=STOPPED, reason="ended early")
attack("killed by itself", HONEST, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", status=STOPPED)
attack(
    "kills everyone",
    HONEST,
    """
import os, signal
for target in (-1, os.getppid(), 1, 0):
    try: os.kill(target, signal.SIGKILL)
    except OSError: pass
""",
    status="graded|stopped",
    score=None,
)
attack(
    "segmentation fault", HONEST, "import ctypes\nctypes.string_at(0)", status=STOPPED, reason="ended early"
)
attack(
    "SystemExit",
    "raise SystemExit(0)",
    "raise KeyboardInterrupt",
    HONEST,
    "exit()",
    "quit()",
    "import sys\nsys.exit(1)",
    score=4.0,
)
attack("SystemExit in a call", function("raise SystemExit(0)"), reason="SystemExit")
attack(
    "endless recursion",
    """
import sys
sys.setrecursionlimit(10**9)
def f(): return f()
""",
    HONEST,
    "f()",
    status="graded|stopped",
    score=None,
)
attack("closed pipes", HONEST, "import os\nos.closerange(3, 1000)", status=STOPPED)
attack("input", "name = input('Name? ')", "import sys\nsys.stdin.read()", "open(0).read()", HONEST, score=4.0)

# It changes what the answers go through

attack(
    "patched numpy",
    function("return np.zeros((len(x), len(x)))"),
    """
np.allclose = np.array_equal = lambda *a, **k: True
np.asarray = np.array = np.abs = np.squeeze = lambda *a, **k: 0
np.isfinite = np.all = lambda *a, **k: True
""",
)
attack(
    "patched torch",
    function("return torch.zeros(len(x), len(x))"),
    """
torch.allclose = torch.equal = lambda *a, **k: True
for name in ("__eq__", "__sub__", "__rsub__", "detach", "cpu", "numpy", "abs", "max"):
    setattr(torch.Tensor, name, lambda self, *a, **k: True)
""",
)
attack(
    "patched builtins",
    function("return 0"),
    """
import builtins
builtins.abs = builtins.max = builtins.sum = lambda *a, **k: 0
builtins.all = builtins.any = builtins.isinstance = builtins.callable = lambda *a, **k: True
builtins.AssertionError = ValueError
""",
    status="graded|stopped",
)
attack(
    "patched json",
    function("return 0"),
    """
import json
json.dumps = lambda *a, **k: '{"value": {"array": {"shape": [], "data": [1.0]}}}'
json.loads = lambda *a, **k: {"function": "ntk_matrix", "arguments": [], "keywords": {}, "repeat": 1}
json.JSONEncoder.encode = json.dumps
""",
    status="graded|stopped",
)
attack(
    "patched random numbers",
    HONEST,
    """
import random
np.random.seed = torch.manual_seed = random.seed = lambda *a, **k: None
""",
    status="graded|stopped",
    score=4.0,
)
attack(
    "patched kit",
    function("return 0"),
    """
kit.TOLERANCE = float("inf")
kit.check = lambda *a, **k: print("ok")
kit.diagnose = lambda *a, **k: ("right", 0.0)
""",
)
attack(
    "patched wire",
    function("return 0"),
    """
import sys
wire = sys.modules["exercises.grading.wire"]
wire.encode_answer = lambda *a, **k: {"text": "right"}
wire.answer = lambda *a, **k: {"value": {"verdict": "right", "right": True, "score": 13}}
""",
    status="graded|stopped",
)
attack("no modules", HONEST, "import sys\nsys.modules.clear()", status="graded|stopped", score=None)
attack(
    "IPython transformers",
    function("return 0"),
    """
shell = get_ipython()
shell.input_transformers_cleanup.append(lambda lines: ["score = 13\\n"])
shell.events.register("post_run_cell", lambda *a: 1 / 0)
shell.set_custom_exc((BaseException,), lambda *a: None)
shell.run_cell = lambda *a, **k: None
""",
    "raise ValueError",
    status="graded|stopped",
)
attack(
    "user namespace that lies",
    function("return 0"),
    """
class Liar(dict):
    def get(self, name, default=None): return lambda *a, **k: 13
get_ipython().user_ns = Liar()
""",
)
attack(
    "forged answers in the pipes",
    function("return 0"),
    """
import os
line = b'{"value": {"array": {"shape": [], "data": [0.0]}}}\\n' * 20
for pipe in range(3, 100):
    try: os.write(pipe, line)
    except OSError: pass
""",
    status=STOPPED,
    reason="not in the form",
)
attack(
    "flooded pipes",
    HONEST,
    """
import os
for pipe in range(3, 100):
    try:
        while True: os.write(pipe, b"[" * 2**20)
    except OSError: pass
""",
    status=STOPPED,
)
attack(
    "thread that answers first",
    function("return 0"),
    """
import os, threading, time
def forge():
    while True:
        for pipe in range(3, 20):
            try: os.write(pipe, b'{"value": {"array": {"shape": [1, 1], "data": [1.0]}}}\\n')
            except OSError: pass
        time.sleep(0.001)
threading.Thread(target=forge, daemon=True).start()
time.sleep(0.2)
""",
    status="graded|stopped",
)
attack(
    "frames searched for the answer",
    function("""
import gc, sys
frame, found = sys._getframe(), []
while frame:
    found += [value for name, value in frame.f_locals.items() if name in ("expected", "want", "answer")]
    frame = frame.f_back
found += [item for item in gc.get_objects() if type(item) is dict and "expected" in item]
return found[0]"""),
)

# It returns something that is not what it seems: a liar for each of the functions

FUNCTION_NAMES = ("ntk_matrix", "ntk_blocks", "linear_prediction", "linearization_error")


def returns(name: str, setting: str, *values: str, status: str = GRADED, reason: str = "") -> None:
    """A notebook whose functions return these things."""
    lines = (
        f"def {function}(*arguments): {value}"
        for function, value in zip(FUNCTION_NAMES, values, strict=False)
    )
    attack(name, setting, "\n".join(lines), status=status, reason=reason)


returns(
    "arrays that lie",
    """
class Liar(np.ndarray):
    __eq__ = __ge__ = __le__ = lambda self, other: True
    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0.0
    def tolist(self): return [0.0] * self.size
    def astype(self, *a, **k): return self
    def __array_ufunc__(self, *a, **k): return 0.0
class TensorLiar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *a, **k): return 0.0
class Chameleon:
    __class__ = property(lambda self: torch.Tensor)
    shape, dtype, ndim = (1, 1), np.float64, 2
    def __array__(self, *a, **k): return np.zeros((1, 1))
    def __getattr__(self, name): return lambda *a, **k: self
""",
    "return np.zeros((7, 7)).view(Liar)",
    "return torch.zeros(4, 5, 3, 3).as_subclass(TensorLiar)",
    "return Chameleon()",
    "return np.zeros(1).view(Liar)[0]",
    status="graded|stopped",
)
returns(
    "numbers that lie",
    """
class Liar(float):
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: 0.0
    __float__ = lambda self: float("nan")
    __repr__ = __str__ = lambda self: "1.0, 2.0"
    __hash__ = None
class Index(int):
    __index__ = __int__ = lambda self: 10**30
""",
    "return [[Liar(1)] * 7] * 7",
    "return Liar(1)",
    "return Index(3)",
    "return Liar(0)",
)
returns(
    "not a number",
    "",
    "return np.full((7, 7), np.nan)",
    "return torch.full((4, 5, 3, 3), torch.inf)",
    "return -np.inf",
    "return float('nan')",
    reason="not finite",
)
returns(
    "text and verdicts",
    "",
    "return 'right'",
    "return {'right': True, 'kind': 'right', 'score': 13}",
    "return b'right'",
    "return type('right', (), {'right': True})()",
    reason="not numbers",
)
returns(
    "endless things",
    """
import itertools
x = []
x.append(x)
class Long(list):
    __len__ = lambda self: 10**12
""",
    "return x",
    "return itertools.count()",
    "return Long()",
    "return np.broadcast_to(np.zeros(1), (10**6, 10**6))",
    status="graded|stopped",
)
returns(
    "objects that unpickle to evil",
    """
import os
class Evil:
    def __reduce__(self): return os.system, ("touch /tmp/<TOKEN>",)
    __array__ = __float__ = __len__ = __iter__ = lambda self, *a, **k: os.system("touch /tmp/<TOKEN>")
""",
    "return Evil()",
    "return [Evil()]",
    "return np.array([Evil()], dtype=object)",
    "return Evil",
)
attack(
    "coroutine and generator",
    "async def ntk_matrix(model, x):\n    return np.eye(len(x))",
    "def ntk_blocks(model, x1, x2):\n    yield from np.eye(len(x1))",
)
attack("function by another name", HONEST.replace("ntk_matrix", "ntk_matrx"), reason="found `ntk_matrx`")

# It looks for the answer, or for something else to read

attack(
    "answer of the library",
    function("from ntklab.empirical import empirical_ntk\nreturn empirical_ntk(model, x)"),
    reason="ModuleNotFoundError",
)
attack(
    "solution found on the disk",
    """
import json, os
LARGE = {"proc", "sys", "usr", "torch", "scipy", "pandas", "sympy", "numpy", "matplotlib"}
for folder, below, files in os.walk("/"):
    below[:] = [name for name in below if name not in LARGE]
    for name in files:
        if name.startswith("ntk_matrix"):
            for cell in json.load(open(os.path.join(folder, name)))["cells"]:
                if cell["cell_type"] == "code": exec("".join(cell["source"]))
""",
    "import exercises.source.definition.ntk_matrix",
    "from exercises.grading import problem",
)
attack(
    "secrets told by an error",
    HONEST,
    """
import glob, os
found = [str(os.environ)]
for pattern in ("/proc/*/environ", "/proc/*/cmdline", "<SECRET>", "<REPOSITORY>/*", "<OUT>/*", "<SUBMITTED>", "/root/*",
                "/home/*/*", "/etc/shadow", "/tmp/*"):
    for path in glob.glob(pattern):
        try: found.append(open(path, errors="replace").read(10_000))
        except OSError: pass
raise ValueError(" ".join(found))
""",
    score=4.0,
)
attack(
    "hidden inputs told by an error",
    """
seen = []
def ntk_matrix(model, x):
    seen.append([x.tolist(), [p.tolist() for p in model.parameters()]])
    import sys, warnings
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        print(seen, file=stream)
    warnings.warn(str(seen))
    open("/tmp/seen", "w").write(str(seen))
    raise ValueError(str(seen))
""",
    reason="ValueError",
)
attack(
    "hidden inputs told by the class of an error",
    """
def ntk_matrix(model, x):
    raise type("x" + "_".join(str(int(v * 1e6)) for v in x.flatten().tolist()), (ValueError,), {})("no")
""",
    reason="ValueError",
)

# It writes where it should not

attack(
    "writes everywhere",
    HONEST,
    """
from pathlib import Path
for folder in <PLACES>:
    try: Path(folder, "<TOKEN>").write_text("evil")
    except OSError: pass
""",
    score=4.0,
)
attack(
    "forged results",
    function("return 0"),
    """
import os
os.makedirs("results", exist_ok=True)
for name in ("grades.csv", "results/x.json", "result.json", "<OUT>/grades.csv", "<OUT>/results/x.json", "/tmp/grades.csv"):
    try: open(name, "w").write("student,problem,score\\nforged results,ntk_matrix,13")
    except OSError: pass
""",
)
attack(
    "disk filled",
    HONEST,
    """
for folder in ("/tmp", "/dev/shm", "/var/tmp", "."):
    try:
        for i in range(10_000):
            with open(f"{folder}/fill{i}", "wb") as file: file.write(bytes(2**24))
    except OSError: pass
""",
    status="graded|stopped",
    score=None,
)
attack(
    "kit rewritten",
    function("return 0"),
    """
from pathlib import Path
for name in ("exercises.kit", "exercises.grading.wire", "exercises.grading.inside"):
    try: Path(sys.modules[name].__file__).write_text("")
    except (OSError, KeyError): pass
""",
)

# It takes more than its share

attack(
    "100 GB",
    "x = np.ones(10**11 // 8)",
    "y = torch.ones(10**11 // 8)",
    "z = bytearray(10**11)",
    HONEST,
    status="graded|stopped",
    score=None,
)
attack(
    "memory in children",
    HONEST,
    """
import os, time
for _ in range(40):
    if os.fork() == 0:
        x = b"x" * 150_000_000
        time.sleep(1000)
time.sleep(1000)
""",
    status=STOPPED,
    reason="it used",
)
attack(
    "fork bomb",
    HONEST,
    """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    status=STOPPED,
)
attack(
    "threads",
    HONEST,
    """
import threading, time
for _ in range(5000):
    try: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError: break
""",
    status="graded|stopped",
    score=None,
)
attack(
    "200 MB of output",
    """
import os, sys
for _ in range(20):
    print("x" * 10**7)
    sys.stderr.write("y" * 10**6)
    os.write(1, b"z" * 10**6)
""",
    HONEST,
    score=4.0,
)
attack(
    "network",
    HONEST,
    """
import socket
for reach in (lambda: socket.create_connection(("1.1.1.1", 53), timeout=1), lambda: socket.gethostbyname("example.org"),
              lambda: socket.create_connection(("127.0.0.1", <PORT>), timeout=1)):
    try:
        reach()
        ntk_matrix = None
    except OSError: pass
""",
    score=4.0,
)

# It stays

attack(
    "threads left behind",
    HONEST,
    """
import threading, time
threading.Thread(target=lambda: time.sleep(10**6)).start()
threading.Thread(target=lambda: time.sleep(10**6), daemon=True).start()
""",
    score=4.0,
)
attack(
    "children left behind",
    HONEST,
    """
import os, subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "<SLEEP>"])
    os._exit(0)
os.wait()
subprocess.Popen(["nohup", "sleep", "<SLEEP>"], start_new_session=True)
""",
    score=4.0,
)

# It shows something to whoever looks

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e"
attack("markup in an error", HONEST, f"raise ValueError({MARKUP!r})", score=4.0)
attack(
    "markup in the class of an error",
    HONEST,
    f"raise type({MARKUP!r}, (Exception,), {{}})({MARKUP!r})",
    score=4.0,
)
attack(
    "markup in outputs",
    HONEST,
    f"""
from IPython.display import HTML, Javascript, display
display(HTML({MARKUP!r}), Javascript("alert(1)"))
print({MARKUP!r})
""",
    score=4.0,
)
attack(
    "error whose text never comes",
    HONEST,
    """
class Evil(Exception):
    def __str__(self):
        while True: pass
raise Evil
""",
    status=STOPPED,
    reason="CPU time",
)
attack(
    "error whose text is an error",
    HONEST,
    """
class Evil(Exception):
    def __str__(self): raise SystemExit
    __repr__ = __str__
raise Evil
""",
    score=4.0,
)
attack("error with 100 MB of text", HONEST, "raise ValueError('<b>' * 30_000_000)", score=4.0)
CASES["markup in an answer"] = Case(
    notebook([code(HONEST), text(f"{MARKUP}\n\n[x](javascript:alert(1)) $\\href{{javascript:alert(1)}}{{x}}$", "answer")]),
    (GRADED,), 4.0, WORTH, "",
)  # fmt: skip
# It changes the surroundings

attack(
    "time, locale and folder changed",
    """
import locale, os, time
time.time = time.monotonic = time.perf_counter = lambda: 0.0
os.environ.clear()
os.environ["TZ"] = "Pacific/Kiritimati"
time.tzset()
try: locale.setlocale(locale.LC_ALL, "tr_TR.UTF-8")
except locale.Error: pass
os.makedirs("/tmp/gone", exist_ok=True)
os.chdir("/tmp/gone")
os.rmdir("/tmp/gone")
""",
    HONEST,
    score=4.0,
)
attack(
    "magics",
    HONEST,
    """
!rm -rf /tmp/* <OUT> <SUBMITTED> ~ 2>/dev/null
%cd -q /
%config Application.verbose_crash=True
""",
    "%%bash\nkill -9 -1; exit 1",
    "%%writefile /tmp/<TOKEN>\nevil",
    "%load_ext nothing",
    status="graded|stopped",
    score=None,
)
attack(
    "another root",
    HONEST,
    """
import ctypes, os
libc = ctypes.CDLL(None)
for flag in (0x10000000, 0x20000, 0x40000000): libc.unshare(flag)
libc.mount(b"none", b"/", b"tmpfs", 0, None)
for change in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.chroot("/tmp")):
    try: change()
    except OSError: pass
libc.ptrace(16, os.getppid(), 0, 0)
""",
    status="graded|stopped",
    score=None,
)

# Cells that are not what they were

CHECKED = {name: "assert True" for name in samples.NTK.locked}
CASES["checks overwritten"] = Case(filled_in(CHECKED), (GRADED,), 0.0, 0.0, "not attempted")
CASES["checks deleted"] = Case(notebook([code(HONEST)]), (GRADED,), 4.0, WORTH, "")
CASES["cells duplicated"] = Case(
    notebook([cell for cell in json.loads(filled_in({"ntk-matrix": HONEST}))["cells"] for _ in range(2)]),
    (GRADED,), 4.0, WORTH, "",
)  # fmt: skip
CASES["cells in reverse"] = Case(
    notebook(reversed(json.loads(filled_in({"ntk-matrix": HONEST}))["cells"])), (GRADED,), 4.0, WORTH, ""
)


def _forged_points() -> bytes:
    cells = json.loads(filled_in({}))["cells"]
    for cell in cells:
        flags = cell["metadata"].setdefault("nbgrader", {"grade_id": "x"})
        flags.update(points=1000, grade=True, score=1000, auto_score=1000, manual_score=1000)
    return notebook(
        [code("score = max_score = points = 13", "score"), *cells], metadata={"nbgrader": {"score": 13}}
    )


CASES["forged points"] = Case(_forged_points(), (GRADED,), 0.0, 0.0, "not attempted")
attack(
    "nothing but nesting",
    HONEST,
    "(" * 100_000 + ")" * 100_000,
    "-" * 100_000 + "1",
    "x = '\0'",
    score=None,
    status="graded|stopped",
)
# Files that are no notebook

file("not JSON", b"%PDF-1.7 homework", "not a notebook")
file("empty", b"", "empty file")
file("deep JSON", b"[" * 10**6, "nested too deeply")
file("old format", notebook([], nbformat=3, worksheets=[]), "old format")
file("no cells", notebook([]), "no cells")
file(
    "wrong kernel",
    notebook([code("1")], metadata={"kernelspec": {"language": "R", "name": "ir"}}),
    "wrong kernel",
)
file("wrong cells", notebook([{"cell_type": "code", "source": 13}]), "damaged notebook")
file("bomb", bytes(30 * 2**20), "larger than")
file(
    "wrong file name",
    notebook([code(HONEST)]),
    "must be called ntk_matrix.ipynb",
    "ntk_matrix (2) final.ipynb",
)
file("archive in the archive", b"PK\5\6" + bytes(18), "hand in ntk_matrix.ipynb itself", "ntk_matrix.zip")
file("program", HONEST.encode(), "hand in ntk_matrix.ipynb itself", "ntk_matrix.py")

# Names; what they hand in is honest
NAMES = {
    "<img src=x onerror=alert(1)>": "",
    "=HYPERLINK(\"mailto:evil@example.org\")": "",
    "$(touch <TOKEN>); `id` & %s {0}": "",
    "Zoë 你好 नमस्ते 🎓": "",
    "bidi \u202egnp.exe": "unsafe name",
    "escape \x1b[2J": "unsafe name",
    "line\nbreak,13,13,graded": "unsafe name",
}  # fmt: skip


def fill_in(
    content: bytes, values: dict[str, str], escape: Callable[[str], str] = lambda text: text
) -> bytes:
    """Put this run's paths and tokens into a notebook."""
    for name, value in values.items():
        content = content.replace(f"<{name}>".encode(), escape(value).encode())
    return content
