"""Terminal sessions of the instructor's guide: ``python -m tests.exercises.transcripts`` records them again.

``book/teaching/transcripts/NAME.txt`` is a session.  Lines that begin with ``$`` (and go on after ``>``) are commands,
the others are what the commands printed.  A recording runs the commands of all sessions in order, in one folder
that looks like a copy of the course with eight submissions, and puts the outputs in place of the old ones.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from exercises import release
from tests.exercises.grading.samples import FUNCTIONS, filled_in

ROOT = release.ROOT.parent
FOLDER = ROOT / "book" / "teaching" / "transcripts"
SESSIONS = (
    "release",
    "sandbox",
    "collect",
    "canvas",
    "gradescope",
    "help",
    "grade",
    "again",
    "archive",
    "seed",
    "interrupted",
    "marks",
    "broken_marks",
    "gradebook",
    "refused",
)
HANDED_IN = 1_791_205_200  # 2026-10-05 13:00 UTC

ANSWERS = {
    "student01": "**1.** Taylor's remainder is $\\frac12 \\delta^\\top H \\delta$, so it is at most "
    "$\\frac12 \\|H\\| \\|\\delta\\|^2 = O(m^{-1/2})$.\n\n**2.** Every neuron adds a term of order $m^{-3/2}$ "
    "that is odd in $a_j$. The signs are random, so $m$ of them add up to $m^{-3/2} \\sqrt m = 1/m$.",
    "student02": "Because the bound with the Hessian is not sharp.",
    "student03": "The bound is $O(m^{-1/2})$. ReLU has kinks, so it is worse.",
}
ROSTER = """\
student,name,email
student01,Student One,student01@example.org
student02,Student Two,student02@example.org
student03,Student Three,student03@example.org
student09,Student Nine,student09@example.org
"""


RIGHT = {
    "ntk-matrix": """\
def ntk_matrix(model, x):
    weights = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for sample in torch.as_tensor(x):
        model.zero_grad()
        model(sample[None]).sum().backward()
        rows.append(torch.cat([w.grad.flatten() for w in weights]))
    rows = torch.stack(rows)
    return rows @ rows.T
""",
    "ntk-blocks": """\
def gradient_rows(model, x):
    weights = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for output in model(x):
        for value in output:
            parts = torch.autograd.grad(value, weights, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows).reshape(len(x), -1, rows[0].numel())

def ntk_blocks(model, x1, x2):
    one, two = gradient_rows(model, x1), gradient_rows(model, x2)
    return (one[:, None, :, None] * two[None, :, None, :]).sum(-1)
""",
    "linear-prediction": """\
def linear_prediction(model, theta, x):
    change = torch.cat([(new - old).flatten() for new, old in zip(theta, model.parameters())])
    return (model(x) + gradient_rows(model, x) @ change).detach()
""",
    "linearization-error": """\
def linearization_error(width, seed, activation=torch.tanh):
    x, y = kit.circle(12)
    start = kit.TwoLayerNet(width, activation=activation, seed=seed)
    end = kit.trained(start, x, y, learning_rate=1.0, steps=200)
    test, _ = kit.circle(60, offset=0.5)
    gap = end(test) - linear_prediction(start, list(end.parameters()), test)
    return gap.pow(2).mean().sqrt()
""",
}
OTHER_NAMES = {
    "weights": "params",
    "rows": "grads",
    "sample": "xi",
    "one": "a",
    "two": "b",
    "change": "delta",
    "gap": "diff",
}
WRONG = {
    "ntk-matrix": FUNCTIONS["ntk-matrix"].replace("jacobian.T", "jacobian.T / len(x)"),
    "ntk-blocks": FUNCTIONS["ntk-blocks"].replace("->ijab", "->ijba"),
    "linear-prediction": FUNCTIONS["linear-prediction"].replace("return value + change", "value + change"),
}


def renamed(text: str) -> str:
    """The same code under other names."""
    for old, new in OTHER_NAMES.items():
        text = re.sub(rf"(?<![.\w]){old}\b", new, text)
    return f"# my own solution\n{text}"


def submissions() -> dict[str, bytes]:
    """What eight students handed in, by path."""
    code = {
        "student01": RIGHT,
        "student02": {name: renamed(text) for name, text in RIGHT.items()},
        "student03": WRONG,
        "student04": {**RIGHT, "ntk-matrix": RIGHT["ntk-matrix"] + "\nwhile True:\n    pass\n"},
        "student05": {
            "ntk-matrix": RIGHT["ntk-matrix"].replace("torch.stack", "stack"),
            "ntk-blocks": "import jax",
        },
        "student06": {},
    }
    files = {
        f"{student}/ntk_matrix.ipynb": filled_in(
            cells | ({"answer": ANSWERS[student]} if student in ANSWERS else {})
        )
        for student, cells in code.items()
    }
    files["student07/ntk_matrix.ipynb"] = files["student01/ntk_matrix.ipynb"][:5000]
    files["student08/NTK-Matrix (1).ipynb"] = files["student06/ntk_matrix.ipynb"]
    return files


METADATA = """\
submission_{number}:
  :submitters:
  - :name: {name}
    :email: {email}
  :created_at: 2026-10-05 13:00:00.000000000 Z
"""


def exports(files: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """The first two submissions as learning platforms export them, by archive and name."""
    one, two = (files[f"{student}/ntk_matrix.ipynb"] for student in ("student01", "student02"))
    people = {501: ("Student One", "student01@example.org"), 502: ("Student Two", "student02@example.org")}
    metadata = [
        METADATA.format(number=number, name=name, email=email) for number, (name, email) in people.items()
    ]
    return {
        "canvas.zip": {
            "onestudent_4711_98765_ntk_matrix.ipynb": two,
            "onestudent_4711_98999_ntk_matrix-1.ipynb": one,
            "twostudent_LATE_4712_98766_ntk_matrix.ipynb": two,
        },
        "gradescope.zip": {
            "assignment_77_export/submission_501/ntk_matrix.ipynb": one,
            "assignment_77_export/submission_502/ntk_matrix.ipynb": two,
            "assignment_77_export/submission_metadata.yml": "".join(metadata).encode(),
        },
    }


def workplace(folder: Path) -> Path:
    """A folder that looks like a copy of the course, with submissions and a roster."""
    shutil.copytree(
        ROOT / "exercises", folder / "exercises", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "roster.csv").write_text(ROSTER)
    for name, content in submissions().items():
        file = folder / "submitted" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        os.utime(file, (HANDED_IN, HANDED_IN))
    for archive, contents in exports(submissions()).items():
        with zipfile.ZipFile(folder / archive, "w") as file:
            for name, content in contents.items():
                file.writestr(name, content)
    return folder


def commands(transcript: str) -> list[str]:
    """The commands of a session, a continued one with its line breaks."""
    found = []
    for line in transcript.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found and found[-1].endswith("\\"):
            found[-1] += f"\n{line[2:]}"
    return found


def record(transcript: str, folder: Path) -> str:
    """The session with what its commands print now."""
    lines = []
    for command in commands(transcript):
        lines += [f"$ {command}".replace("\n", "\n> "), *_output(command, folder)]
    return "\n".join(lines) + "\n"


def _output(command: str, folder: Path) -> list[str]:
    """What a terminal shows after a command: of a progress bar its last state."""
    environment = {**os.environ, "COLUMNS": "100", "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    text = done.stdout.decode().replace("\r\n", "\n")
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return shown[:-1] if shown[-1] == "" else shown


def alike(transcript: str) -> str:
    """A session without what differs from run to run: how far a run was at some moment, and how fast."""
    return re.sub(r"^( *\d+%\|.*|.*: computing the expected values)\n", "", transcript, flags=re.MULTILINE)


def record_all(folder: Path) -> dict[str, str]:
    """All sessions, recorded one after the other in a new workplace."""
    place = workplace(folder)
    return {name: record((FOLDER / f"{name}.txt").read_text("utf-8"), place) for name in SESSIONS}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.exercises.transcripts", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--times", action="store_true", help="write sessions in which only times differ, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for name, new in record_all(Path(folder)).items():
            file = FOLDER / f"{name}.txt"
            old = file.read_text("utf-8")
            if new != old if options.times else alike(new) != alike(old):
                file.write_text(new, "utf-8")
                print(f"recorded: {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
