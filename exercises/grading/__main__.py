"""Grade submitted notebooks.

SUBMITTED is a folder, or a zip or tar of one, with STUDENT/PROBLEM.ipynb or STUDENT/SET/PROBLEM.ipynb.  OUT gets
grades.csv, feedback/STUDENT/PROBLEM.html, summary.html and marks/PROBLEM.csv for what is marked by hand.  The same
command again goes on where the last one stopped, grades what is new or changed, and merges the marks.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from pathlib import Path

from exercises.grading.marks import MarksError
from exercises.grading.run import GRADES, STATUSES, Options, UsageError, run
from exercises.grading.store import StoreError
from exercises.grading.submissions import ArchiveError
from exercises.grading.tables import TableError

WARNING = """\
************************************************************************
WITHOUT A SANDBOX these notebooks run with all your rights: they can read,
change and delete your files and use the network. For your OWN notebooks only.
************************************************************************"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exercises.grading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("submitted", metavar="SUBMITTED", type=Path, help="folder, zip or tar")
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for the results; one run is one folder"
    )
    parser.add_argument(
        "--jobs",
        type=_count,
        default=len(os.sched_getaffinity(0)),
        help="notebooks at a time (default: all cores)",
    )
    parser.add_argument(
        "--problem", action="append", default=[], metavar="NAME", help="only this problem; repeatable"
    )
    parser.add_argument(
        "--cpu-seconds", type=_seconds, metavar="S", help="for one notebook (default: the problem's)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="K", help="of the hidden inputs (default: random, kept in OUT)"
    )
    parser.add_argument(
        "--roster", type=Path, metavar="FILE", help="CSV with a column student: also gradebook.csv"
    )
    parser.add_argument(
        "--without-sandbox",
        action="store_true",
        help="DANGEROUS, for your own notebooks: run them with your rights",
    )
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected 1 to 64, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 1 to 86400, got {text!r}")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, 1 if the grader failed on a submission, 2 if it could not begin or end."""
    chosen = _parser().parse_args(arguments)
    options = Options(
        submitted=chosen.submitted,
        out=chosen.out,
        jobs=chosen.jobs,
        problems=tuple(chosen.problem),
        cpu_seconds=chosen.cpu_seconds,
        seed=chosen.seed,
        roster=chosen.roster,
        sandboxed=not chosen.without_sandbox,
    )
    if not options.sandboxed:
        print(WARNING, file=sys.stderr)
    try:
        statuses = run(options)
    except (UsageError, ArchiveError, StoreError, MarksError, TableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; the same command goes on from here", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    _say(statuses, options)
    return int(statuses["failed"] > 0)


def _say(statuses: Counter, options: Options) -> None:
    print(", ".join(f"{statuses[status]} {status}" for status in STATUSES))
    for name, what in {
        GRADES: "scores with reasons",
        "gradebook.csv": "one row for each on the roster",
        "summary.html": "distribution, common errors, code that is alike",
        "feedback": "one page for each submission",
        "marks": "enter points for written answers, then run this command again",
    }.items():
        if (options.out / name).exists():
            print(f"{options.out / name}: {what}")


if __name__ == "__main__":
    sys.exit(main())
