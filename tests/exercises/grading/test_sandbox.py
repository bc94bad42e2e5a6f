"""What a learner's code can do in the sandbox, what it cannot, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exercises.grading import sandbox
from exercises.grading.limits import MIB, Limits

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")

QUICK = Limits(cpu_seconds=10, wall_seconds=120, memory=256 * MIB, processes=16, disk=8 * MIB, output=MIB)
COURSE = Path(__file__).parents[3]


def run(*cells: str, **options) -> sandbox.Run:
    """Run cells that need no package, under tight limits."""
    return sandbox.run(cells, **{"packages": (), "limits": QUICK, **options})


def named(name: str) -> list[int]:
    """Processes of this machine that go by a name."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == name:
                found.append(int(comm.parent.name))
        except OSError:
            continue
    return found


def new_name() -> str:
    """A name for processes that nothing else on the machine has."""
    return f"left{secrets.token_hex(4)}"


# What honest notebooks do. --------------------------------------------------------------------------------------


def test_cells_share_a_namespace_and_an_error_does_not_stop_the_next_cell():
    result = run(
        "x = 1", "x = 2\n1 / 0", "import sys; sys.exit(4)", "raise KeyboardInterrupt", "assert x == 2"
    )
    assert [report.error for report in result.cells] == [
        None,
        "ZeroDivisionError",
        "SystemExit",
        "KeyboardInterrupt",
        None,
    ]
    assert [report.line for report in result.cells] == [None, 2, 1, 1, None]
    assert result.cells[1].message == "division by zero"
    assert result.stopped is None


def test_an_error_is_told_by_its_class_its_text_and_the_line_of_the_cell():
    result = run(
        "def f(x):\n    return [][x]",
        "y = 3\n\nf(y)",
        "y = (",
        "class Mine(Exception): pass\nraise Mine('\\ud800 and ' + 3000 * 'long')",
        "class Silent(Exception):\n    def __str__(self): raise ValueError\nraise Silent",
    )
    reports = [(report.error, report.line) for report in result.cells[1:4]]
    assert reports == [("IndexError", 3), ("SyntaxError", 1), ("Mine", 2)]
    assert result.cells[4].error
    assert result.cells[3].message.startswith("? and long")
    assert len(result.cells[3].message) == 2000


def test_ipython_syntax_works_and_commands_that_are_absent_fail_alone():
    result = run(
        "%matplotlib inline\n%config InlineBackend.figure_format = 'retina'",
        "%%time\nx = 3",
        "files = !ls /",
        "!pip install torch",
        "%pip install torch",
        "%load_ext no_such_extension",
        "assert x == 3 and 'proc' in files",
        "import asyncio\nawait asyncio.sleep(0)",
        "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n%timeit -n1 -r1 x",
        "print('warned', file=__import__('sys').stderr)\nimport warnings; warnings.warn('harmless')",
    )
    assert [report.error for report in result.cells if report.index != 5] == [None] * 9
    assert result.cells[5].error == "ModuleNotFoundError"


def test_threads_subprocesses_and_multiprocessing_work():
    result = run(
        "import threading\nseen = []\n"
        "threads = [threading.Thread(target=seen.append, args=[i]) for i in range(8)]\n"
        "for t in threads: t.start()\nfor t in threads: t.join()\nassert sorted(seen) == list(range(8))",
        "import subprocess, sys\n"
        "out = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True, check=True)\n"
        "assert out.stdout == '42\\n'",
        "import multiprocessing\ndef double(x): return 2 * x\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]",
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2) as pool: assert sum(pool.map(abs, [-1, 2])) == 3",
    )
    assert [(report.error, report.message) for report in result.cells] == [(None, "")] * 4


def test_input_finds_the_end_of_its_file_at_once():
    result = run("input('name? ')", "import getpass; getpass.getpass()")
    assert [report.error for report in result.cells] == ["EOFError", "EOFError"]


def test_two_hundred_megabytes_of_output_are_no_trouble():
    result = run("import sys\nfor _ in range(200): print('x' * 10**6); sys.stderr.write('y' * 10**5)", "1")
    assert (result.stopped, [report.error for report in result.cells]) == (None, [None, None])


def test_files_can_be_written_where_they_are_thrown_away():
    result = run(
        "open('notes.txt', 'w').write('mine')\nimport tempfile\ntempfile.NamedTemporaryFile().write(b'x')",
        "import os\nos.chdir('/tmp'); os.makedirs('a/b')\nopen('/dev/shm/c', 'w').write('d')",
    )
    assert [report.error for report in result.cells] == [None, None]
    again = run("import os\nassert not os.path.exists('notes.txt') and os.listdir('/dev/shm') == []")
    assert again.cells[0].error is None


def test_random_numbers_hashes_and_time_zone_are_the_same_in_every_run():
    cell = "import random, time\nraise ValueError(random.random(), hash('text'), time.tzname)"
    assert run(cell).cells[0].message == run(cell).cells[0].message


def test_the_listed_packages_work_and_matplotlib_finds_its_fonts_made():
    result = sandbox.run(
        [
            "import logging, io\nlog = io.StringIO()\nlogging.basicConfig(stream=log, level=logging.INFO)",
            "%matplotlib inline\nimport numpy as np, matplotlib.pyplot as plt",
            "plt.plot(np.arange(3.0)); plt.title('drawn'); plt.savefig('figure.png'); plt.show()",
            "assert 'generated new' not in log.getvalue()\nimport os\nassert os.path.getsize('figure.png') > 1000",
        ],
        packages=("numpy", "matplotlib"),
    )
    assert [(report.error, report.message) for report in result.cells] == [(None, "")] * 4


def test_a_missing_package_is_named():
    with pytest.raises(sandbox.SandboxError, match="no-such-package"):
        sandbox.run([], packages=("no-such-package",))


def test_the_sandbox_says_that_it_is_available():
    assert sandbox.available() is None


# What is denied. ------------------------------------------------------------------------------------------------

KEYCTL, CLONE = (250, 56) if os.uname().machine == "x86_64" else (219, 220)
SYSCALL = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
DENIED = {
    "the users of the machine": "assert 'root' in open('/etc/passwd').read()",
    "passwords": "open('/etc/shadow')",
    "a package that is not listed": "import numpy",
    "the library of the course": "import ntklab",
    "the answers": f"open({str(COURSE / 'exercises/source/definition/ntk_matrix.ipynb')!r})",
    "the hidden checks": f"open({str(COURSE / 'exercises/source/definition/ntk_matrix.py')!r})",
    "the program that grades": "import exercises.grading.problem",
    "another file of the course": f"open({str(COURSE / 'pyproject.toml')!r})",
    "this file": f"open({__file__!r})",
    "devices": "open('/dev/sda')",
    "an address": "import socket; socket.create_connection(('127.0.0.1', 22), timeout=1)",
    "a name server": "import socket; socket.getaddrinfo('python.org', 443)",
    "a server": "import urllib.request; urllib.request.urlopen('https://python.org', timeout=1)",
    "the host of a virtual machine": "import socket; socket.socket(socket.AF_VSOCK).connect((2, 22))",
    "raw packets": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "the kernel's cryptography": "import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "memory without a process": "import os; os.memfd_create('hidden')",
    "shared memory of System V": SYSCALL + "assert libc.shmget(0, 4096, 0o1600) >= 0",
    "messages of System V": SYSCALL + "assert libc.msgget(0, 0o1600) >= 0",
    "keys": SYSCALL + f"assert libc.syscall({KEYCTL}, 0, -3, 1) >= 0",
    "a user namespace": SYSCALL + "assert libc.unshare(0x10000000) == 0",
    "a user namespace by clone": SYSCALL + f"assert libc.syscall({CLONE}, 0x10000011, 0, 0, 0, 0) >= 0",
    "mounting": SYSCALL + "assert libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == 0",
    "another root": "import os; os.chroot('/tmp')",
    "another user": "import os; os.setuid(0)",
    "more rights by a setuid program": "import subprocess\nsubprocess.run(['su', '-c', 'id'], check=True)",
    "tracing": SYSCALL + "pid = os.fork() or os._exit(0)\nassert libc.ptrace(16, pid, 0, 0) == 0",
    "tracing the first process": SYSCALL + "assert libc.ptrace(16, 1, 0, 0) == 0",
    "the memory of the first process": "open('/proc/1/mem', 'r+b').read(1)",
    "the environment of the first process": "assert len(open('/proc/1/environ').read()) > 0",
    "processes outside": "import os\nassert len([p for p in os.listdir('/proc') if p.isdigit()]) > 6",
    "ending the process outside": f"import os, signal\nos.kill({os.getpid()}, signal.SIGKILL)",
    "a higher priority": "import os; os.nice(-10)",
    "more CPU time": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (999, 999))",
    "more processes": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))",
    "a large file": "open('large', 'wb').write(bytes(9 * 2**20))",
    "many files at a time": "files = [open('/dev/null') for _ in range(300)]",
    "100 GB at once": "bytearray(10**11)",
    "setting the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "the name of the machine": "import socket; socket.sethostname('mine')",
    "settings of the kernel": "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
    "the log of the kernel": SYSCALL + "assert libc.klogctl(3, ctypes.create_string_buffer(9), 9) >= 0",
    "files of the system's own": "open('/sys/kernel/uevent_seqnum')",
    **{
        f"writing to {folder}": f"open('{folder}/mine', 'w')"
        for folder in ("/", "/usr", "/usr/bin", "/etc", "/dev", "/root", "/home", "/lib/python3", "/dev/pts")
    },
    "writing to the kit": "import exercises\nopen(exercises.__path__[0] + '/kit.py', 'a').write('x')",
    "writing to Python": "import json\nopen(json.__file__, 'a').write('x')",
    "writing to IPython": "import IPython\nopen(IPython.__path__[0] + '/mine.py', 'w')",
}


@pytest.fixture(scope="module")
def denied() -> dict[str, sandbox.CellReport]:
    """The reports of all attempts, made in one sandbox by cells of their own."""
    os.environ["SECRET_OF_THE_GRADER"] = "visible"
    try:
        result = run(*DENIED.values())
    finally:
        del os.environ["SECRET_OF_THE_GRADER"]
    assert result.stopped is None
    return dict(zip(DENIED, result.cells, strict=True))


def test_the_process_has_no_rights_and_can_get_none():
    status = "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
    sets = "assert {int(status[f'Cap{name}'], 16) for name in ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')} == {0}\n"
    rest = "assert (int(status['NoNewPrivs']), int(status['Seccomp'])) == (1, 2)\n"
    user = "import os\nassert os.getuid() == os.geteuid() == os.getgid() >= 65000 and os.getgroups() in ([], [65534])"
    result = run(status + sets, status + rest, user)
    assert [(report.error, report.message) for report in result.cells] == [(None, "")] * 3


@pytest.mark.parametrize("attempt", DENIED)
def test_no_cell_gets(attempt, denied):
    assert denied[attempt].error, "the attempt succeeded"
    assert denied[attempt].error not in ("SyntaxError", "NameError", "AttributeError"), denied[attempt]


def test_no_environment_variable_of_the_grader_gets_in(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "visible")
    look = "import glob\nfor file in glob.glob('/proc/*/environ'):\n    try: seen = open(file).read()\n"
    look += "    except PermissionError: continue\n    assert 'SECRET' not in seen"
    assert [report.error for report in run(look).cells] == [None]


def test_disk_and_shared_memory_are_full_at_their_size():
    fill = "block = bytes(2**20)\nfor k in range(64): open(f'{}/{{k}}', 'wb').write(block)"
    result = run(fill.format("/tmp"), fill.format("/dev/shm"), fill.format("/var"))
    assert [report.error for report in result.cells] == ["OSError", "OSError", "FileNotFoundError"]
    assert "No space left" in result.cells[0].message
    assert "No space left" in result.cells[1].message


# What ends a sandbox. -------------------------------------------------------------------------------------------

TO_PIPES = """import os
for pipe in map(int, os.listdir('/proc/self/fd')):
    try: os.write(pipe, {})
    except OSError: pass"""
ENDLESS = "while True: pass"
STUBBORN = (
    "import signal\nfor s in set(range(1, 32)) - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass"
)
BUSY = Limits(cpu_seconds=0.5, wall_seconds=120, memory=256 * MIB)
STOPS = {
    "an endless loop": ("cpu time", BUSY, ENDLESS),
    "an endless loop that no signal ends": ("cpu time", BUSY, STUBBORN),
    "an endless loop in a child that nobody waits for": (
        "cpu time",
        BUSY,
        f"import os, time\nif os.fork() == 0 and os.fork() == 0:\n    os.setsid()\n    {ENDLESS}\ntime.sleep(60)",
    ),
    "many short children of which nobody asks the end": (
        "cpu time",
        BUSY,
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "while True:\n    if os.fork() == 0:\n        end = time.process_time() + 0.1\n"
        "        while time.process_time() < end: pass\n        os._exit(0)\n    time.sleep(0.15)",
    ),
    "a thread that goes on": (
        "cpu time",
        BUSY,
        f"import threading, time\ndef work():\n    {ENDLESS}\nthreading.Thread(target=work).start()\ntime.sleep(60)",
    ),
    "sleeping": ("wall time", Limits(wall_seconds=1), "import time; time.sleep(60)"),
    "waiting for oneself": (
        "wall time",
        Limits(wall_seconds=1),
        "import threading\nthreading.Lock().acquire()\nl = threading.Lock(); l.acquire(); l.acquire()",
    ),
    "a changed clock": (
        "wall time",
        Limits(wall_seconds=1),
        "import time\nsleep = time.sleep\ntime.time = time.monotonic = lambda: 0\nsleep(60)",
    ),
    "memory bit by bit": ("memory", QUICK, "keep = []\nwhile True: keep.append(bytearray(2**20))"),
    "memory in children": (
        "memory",
        QUICK,
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0: break\n"
        "keep = b'x' * (40 * 2**20)\ntime.sleep(60)",
    ),
    "memory in empty files": (
        "memory",
        Limits(memory=80 * MIB, cpu_seconds=30),
        "for k in range(10**6): open(f'/tmp/{k}', 'w').close()",
    ),
    "memory in sockets": (
        "memory",
        Limits(memory=90 * MIB),
        "import socket, time\nkeep = [socket.socketpair() for _ in range(100)]\ntime.sleep(60)",
    ),
    "a fork bomb": (
        "processes",
        QUICK,
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    ),
    "leaving at once": ("died", QUICK, "import os; os._exit(0)"),
    "killing oneself": ("died", QUICK, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    "a crash": ("died", QUICK, "import ctypes; ctypes.string_at(0)"),
    "replacing the process": ("died", QUICK, "import os; os.execv('/bin/true', ['true'])"),
    "closing every file": ("died", QUICK, "import os; os.closerange(0, 4096)"),
    "text that is no report": ("malformed", QUICK, TO_PIPES.format("b'no report' + bytes([10])")),
    "a line without an end": ("malformed", QUICK, TO_PIPES.format("b'[' * 2**20")),
    "deep nesting": ("malformed", QUICK, TO_PIPES.format("b'[' * 60000 + bytes([10])")),
    "numbers that take long to read": ("malformed", QUICK, TO_PIPES.format("b'9' * 60000 + bytes([10])")),
}


@pytest.mark.parametrize("attempt", STOPS)
def test_a_notebook_is_stopped_for(attempt):
    reason, limits, cell = STOPS[attempt]
    name = new_name()
    result = run("x = 1", f"open('/proc/self/comm', 'w').write('{name}')\n{cell}", "x = 2", limits=limits)
    assert result.stopped == reason, result
    assert [report.error for report in result.cells] == [None]
    assert named(name) == []


def forged(*lines: dict) -> str:
    """A cell that writes lines of its own, at once, to every pipe that it finds."""
    return TO_PIPES.format(repr("".join(json.dumps(line) + "\n" for line in lines).encode()))


def report(cell: int, error: str | None = None) -> dict:
    """A line as the program writes it after a cell."""
    return {"cell": cell, "error": error, "message": "", "line": None}


def test_forged_reports_are_only_reports_of_cells():
    result = run("x = 1", forged(report(1), report(2)), "1 / 0")
    assert [(cell.index, cell.error) for cell in result.cells] == [(0, None), (1, None), (2, None)]
    assert result.answers == []


def test_reports_of_other_cells_or_with_other_things_in_them_end_the_notebook():
    wrong = [
        report(7),
        report(1) | {"message": None},
        report(1) | {"line": 10**7},
        report(1, 3),
        {"ready": True},
    ]
    assert [run("x = 1", forged(line)).stopped for line in wrong] == ["malformed"] * 5


def test_calls_are_not_sent_to_someone_who_has_answered_already():
    calls = [{"function": "f", "arguments": [], "keywords": {}, "repeat": 1}] * 2
    answers = [{"undefined": True}] * 2
    result = run(forged(report(0), report(1), *answers), "x = 1", calls=calls, packages=("numpy", "torch"))
    assert (result.stopped, result.answers) == ("malformed", [{"missing": True}] * 2)


def test_processes_left_behind_are_gone_when_the_sandbox_has_ended():
    name = new_name()
    leave = (
        "import os, signal, subprocess, threading, time\n"
        f"open('/proc/self/comm', 'w').write('{name}')\n"
        "for sig in (1, 2, 3, 15): signal.signal(sig, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\n"
        "subprocess.Popen(['sleep', '601'], start_new_session=True)\n"
        "threading.Thread(target=time.sleep, args=[602]).start()\n"
        "os.kill(-1, 0)"
    )
    result = run(leave, "x = 1")
    assert (result.stopped, result.cells[0].error) == (None, None)
    assert named(name) == []


def test_signals_to_everyone_reach_nobody_else():
    honest = {}
    neighbour = threading.Thread(
        target=lambda: honest.update(run=run("import time; time.sleep(1)", "x = 1", slot=1))
    )
    neighbour.start()
    result = run("import os, signal\nos.kill(-1, signal.SIGKILL)", "x = 1", slot=0)
    neighbour.join()
    assert result.stopped in (None, "died")
    assert (honest["run"].stopped, len(honest["run"].cells)) == (None, 2)


def test_a_fork_bomb_does_not_touch_an_honest_neighbour():
    work = "import subprocess\nfor _ in range(20): subprocess.run(['true'], check=True)"
    honest = {}
    neighbour = threading.Thread(target=lambda: honest.update(run=run(work, work, work, slot=1)))
    neighbour.start()
    bomb = run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", slot=0)
    neighbour.join()
    assert bomb.stopped == "processes"
    assert [report.error for report in honest["run"].cells] == [None] * 3


def test_sandboxes_in_the_same_slot_have_different_users():
    cell = "import os, time\ntime.sleep(1)\nraise ValueError(os.getuid())"
    runs = []
    threads = [threading.Thread(target=lambda: runs.append(run(cell, slot=3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = [result.cells[0].message for result in runs]
    if os.geteuid() == 0:
        assert len(set(users)) == 2
    assert str(os.geteuid()) not in users


def test_nothing_goes_on_when_the_grader_is_killed():
    name = new_name()
    cell = f"open('/proc/self/comm', 'w').write('{name}')\nimport os, time\nos.fork()\ntime.sleep(600)"
    program = f"from exercises.grading import sandbox\nsandbox.run([{cell!r}], packages=())"
    grader = subprocess.Popen([sys.executable, "-c", program], cwd=COURSE)
    try:
        wait_for(lambda: len(named(name)) == 2)
    finally:
        grader.send_signal(signal.SIGKILL)
        grader.wait()
    wait_for(lambda: not named(name))


def test_an_interrupted_grader_leaves_nothing_behind():
    name = new_name()
    cell = f"open('/proc/self/comm', 'w').write('{name}')\nimport time\ntime.sleep(600)"
    program = f"from exercises.grading import sandbox\nsandbox.run([{cell!r}], packages=())"
    grader = subprocess.Popen([sys.executable, "-c", program], cwd=COURSE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: named(name))
    grader.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in grader.communicate(timeout=60)[1]
    assert named(name) == []


def wait_for(condition, seconds: float = 60) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
