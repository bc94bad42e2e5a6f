"""The program in the sandbox: runs a learner's cells, then calls the learner's functions.

    python -m exercises.grading.inside COMMANDS REPORTS        (numbers of two pipes)

It reads one JSON object a line from COMMANDS and answers with one a line on REPORTS.  The first command has the
cells; "ready" comes before the first of them runs and a report after each.  Every further command is a call.
Nothing in here is secret and nothing is decided here: whatever it writes, the learner's code may have written.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import random
import resource
import sys
import time
import types

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

LONGEST_MESSAGE = 2000  # characters of an error's text in a report
_NAME = 100


def main(commands: int, reports: int) -> None:
    """Serve the process on the other ends of two pipes until it closes them."""
    for pipe in (commands, reports):
        os.set_inheritable(pipe, False)
    orders = os.fdopen(commands, "rb")
    order = json.loads(orders.readline())
    wire = importlib.import_module("exercises.grading.wire") if order["calls"] else None
    shell = _shell()
    _only_null_streams()
    _stand_back()
    _limit(order["limits"])
    _seed()
    sys.path.insert(0, "")  # as in a notebook: a module that a cell has written can be imported
    _send(reports, {"ready": True})
    for index, source in enumerate(order["cells"]):
        _send(reports, {"cell": index, **_run_cell(shell, source)})
    for line in orders:
        random.seed(0)
        _send(reports, wire.answer(json.loads(line), shell.user_ns))


def _shell() -> InteractiveShell:
    """IPython as in a notebook, without history, colours, pictures and printed tracebacks."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    shell.display_formatter.active_types = ["text/plain"]
    shell.showtraceback = shell.showsyntaxerror = _nothing
    shell.ask_exit = _nothing
    # MPLBACKEND is set: figures are drawn when asked for and shown nowhere, so matplotlib need not be loaded.
    shell.register_magic_function(_nothing, magic_name="matplotlib")
    return shell


def _nothing(*args, **keywords) -> None:
    """What the learner's process does where a notebook would show something."""


def _only_null_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")


def _stand_back() -> None:
    """Let the grader go first when the machine is busy, and be the first to go when memory runs out."""
    os.nice(5)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _limit(limits: dict[str, int]) -> None:
    """Set resource limits by name; CPU time counts from now."""
    used = math.ceil(time.process_time())
    for name, value in limits.items():
        kind = getattr(resource, name)
        soft = value + used if name == "RLIMIT_CPU" else value
        hard = soft + 1 if name == "RLIMIT_CPU" else soft  # one second between the signal and the kill
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))


def _seed() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _run_cell(shell: InteractiveShell, source: str) -> dict:
    """Run one cell; what it raised, SystemExit and KeyboardInterrupt included, does not stop the next."""
    streams = sys.stdin, sys.stdout, sys.stderr
    try:
        result = shell.run_cell(source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:
        error = raised
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    if error is None:
        return {"error": None, "message": "", "line": None}
    try:
        return {
            "error": type(error).__name__[:_NAME],
            "message": _message(error),
            "line": _line(shell, error),
        }
    except BaseException:  # an error made to break its report
        return {"error": "Exception", "message": "", "line": None}


def _message(error: BaseException) -> str:
    return str(error.msg if isinstance(error, SyntaxError) else error)[:LONGEST_MESSAGE]


def _line(shell: InteractiveShell, error: BaseException) -> int | None:
    """The line of the cell that was running, or the one that is no Python."""
    step = error.__traceback__
    while isinstance(step, types.TracebackType):
        if step.tb_frame.f_globals is shell.user_ns and step.tb_frame.f_code.co_name == "<module>":
            return step.tb_lineno
        step = step.tb_next
    line = error.lineno if isinstance(error, SyntaxError) else None
    return line if type(line) is int and 0 < line < 10**6 else None


def _send(pipe: int, message: dict) -> None:
    data = memoryview(json.dumps(message).encode() + b"\n")
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
