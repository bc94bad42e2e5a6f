"""Grade everything in SUBMITTED: one thread for each job, results stored one by one, reports at the end."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from exercises.grading import feedback, gradebook, marks, pages, sandbox, summary, tables
from exercises.grading.grade import Reference, Result, failed, grade, rejected
from exercises.grading.names import safe_name
from exercises.grading.problem import Problem, all_problems
from exercises.grading.store import Store
from exercises.grading.submissions import Submission, Submissions

GRADES = "grades.csv"
COLUMNS = ("student", "problem", "score", "max_score", "status", "reason", "submitted_at")
STATUSES = ("graded", "stopped", "rejected", "failed")


class UsageError(ValueError):
    """The command cannot be carried out as it is; the message says why."""


@dataclass(frozen=True)
class Options:
    """What the command line says; see ``python -m exercises.grading --help``."""

    submitted: Path
    out: Path
    jobs: int = 1
    problems: tuple[str, ...] = ()
    cpu_seconds: float | None = None
    seed: int | None = None
    roster: Path | None = None
    sandboxed: bool = True
    progress: bool = True


def run(options: Options) -> Counter:
    """Grade and write all reports.

    Returns how many submissions have each status.

    Raises:
        UsageError, ArchiveError, StoreError, MarksError, TableError: with the reason, before anything is run, or, for
            the files that people edit, after everything is stored.
    """
    problems = _selected(options.problems)
    _check_files(options)
    submissions = Submissions(options.submitted, _sets(), problems)
    _check_sandbox(options, {student for student, _ in submissions.keys()})
    handed_in = {problem for _, problem in submissions.keys()}
    problems = {slug: problem for slug, problem in problems.items() if slug in handed_in}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the cores belong to the sandboxes
    try:
        with Store(options.out, options.seed) as store:
            _Work(options, problems, store, submissions).finish()
            return _report(store, submissions, problems, options)
    finally:
        torch.set_num_threads(threads)


def _sets() -> dict[str, str]:
    return {slug: problem.set for slug, problem in all_problems().items()}


def _selected(names: tuple[str, ...]) -> dict[str, Problem]:
    known = all_problems()
    by_name = {problem.name: slug for slug, problem in known.items()}
    slugs = [by_name.get(name, name) for name in names or known]
    for name in slugs:
        if name not in known:
            raise UsageError(f"--problem: expected one of {', '.join(sorted(known))}, got {name}")
    return {slug: known[slug] for slug in sorted(slugs)}


def _check_files(options: Options) -> None:
    out, submitted = Path(options.out).resolve(), Path(options.submitted).resolve()
    if out == submitted or submitted in out.parents:
        raise UsageError(f"--out: {options.out} lies in SUBMITTED; choose a folder outside")
    if options.roster is not None:
        if not Path(options.roster).is_file():
            raise UsageError(f"--roster: there is no file {options.roster}")
        tables.read(Path(options.roster), [gradebook.STUDENT])  # a fault in it shows before the long work


def _check_sandbox(options: Options, students: set[str]) -> None:
    """A sandbox is needed for the notebooks of others; without one, only a single student's are run."""
    if options.sandboxed:
        missing = sandbox.available()
        if missing:
            raise UsageError(
                f"no sandbox: {missing}\nFor your own notebooks only, there is --without-sandbox."
            )
    elif len(students) > 1:
        raise UsageError(
            f"--without-sandbox: for your own notebooks, but SUBMITTED holds those of {len(students)} students"
        )


class _Work:
    """The threads and what they share."""

    def __init__(
        self, options: Options, problems: Mapping[str, Problem], store: Store, submissions: Submissions
    ):
        self.options, self.problems, self.store = options, problems, store
        self.submissions = iter(submissions)
        self.references: dict[str, Reference] = {}
        self.next, self.referring = threading.Lock(), threading.Lock()
        self.trouble: BaseException | None = None
        self.stop = threading.Event()
        self.bar = tqdm(total=len(submissions), unit=" notebooks", disable=not options.progress, smoothing=0)

    def finish(self) -> None:
        """Grade everything that is not stored already."""
        jobs = range(max(1, min(self.options.jobs, self.bar.total)))
        threads = [threading.Thread(target=self._loop, args=(slot,), daemon=True) for slot in jobs]
        with self.bar:
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.2)
            finally:
                self.stop.set()
        if self.trouble is not None:
            raise self.trouble

    def _loop(self, slot: int) -> None:
        try:
            while not self.stop.is_set():
                with self.next:
                    submission = next(self.submissions, None)
                if submission is None:
                    return
                self._settle(submission, slot)
                self.bar.update()
        except BaseException as error:
            self.trouble = self.trouble or error
            self.stop.set()

    def _settle(self, submission: Submission, slot: int) -> None:
        """Store the result of one submission, from an earlier run if nothing has changed since."""
        problem = self.problems.get(submission.problem)
        limits = self._limits(problem) if problem else None
        parts = [problem.digest, asdict(limits), self.options.sandboxed] if problem else []
        key = self.store.key(submission, *parts)
        result = self.store.load(submission, key) or self._grade(submission, problem, limits, slot)
        result = replace(result, submitted_at=submission.submitted_at, note=submission.note)
        self.store.save(result, key)

    def _grade(self, submission: Submission, problem: Problem | None, limits, slot: int) -> Result:
        if submission.reason or problem is None:
            return rejected(submission, problem, submission.reason)
        try:
            reference = self._reference(problem)
            return grade(submission, reference, limits, slot=slot, sandboxed=self.options.sandboxed)
        except Exception as error:
            where = f"{submission.student}, {submission.problem}"
            tqdm.write(f"{pages.clean(where)}\n{traceback.format_exc()}", file=sys.stderr)
            return failed(submission, problem, f"the grader failed: {type(error).__name__}")

    def _limits(self, problem: Problem) -> sandbox.Limits:
        return sandbox.Limits(cpu_seconds=self.options.cpu_seconds or problem.cpu_seconds)

    def _reference(self, problem: Problem) -> Reference:
        """Expected values, computed when the first submission needs them."""
        with self.referring:
            if problem.slug not in self.references:
                if self.options.progress:
                    tqdm.write(f"{problem.name}: computing the expected values", file=sys.stderr)
                self.references[problem.slug] = Reference.compute(problem, self.store.seed)
            return self.references[problem.slug]


def _report(
    store: Store, submissions: Submissions, problems: Mapping[str, Problem], options: Options
) -> Counter:
    """Write grades, feedback, summary, marks and gradebook from what is stored; returns the statuses."""
    out, wanted = Path(options.out), submissions.keys()

    def results() -> Iterator[Result]:
        return store.results(wanted)

    entered = marks.merge(out, results(), problems)
    rows, written = [], set()
    for result in results():
        problem, mine = problems.get(result.problem), entered.get((result.student, result.problem))
        written.add(feedback.write(out, result, problem, mine))
        rows.append(_row(result, problem, mine or marks.Marks()))
    _withdraw_feedback(out, written, problems)
    tables.replace(out / GRADES, tables.dump(COLUMNS, ([row[name] for name in COLUMNS] for row in rows)))
    notes = gradebook.write(out, options.roster, [r for r in rows if r["problem"]]) if options.roster else []
    summary.write(out, results(), problems, entered, notes)
    return Counter(row["status"] for row in rows)


def _row(result: Result, problem: Problem | None, mine: marks.Marks) -> dict[str, str]:
    """One line of grades.csv: points by checks and by hand together."""
    most = problem.max_score if problem else 0.0
    waiting = mine.reason(most)
    return {
        "student": result.student,
        "problem": result.problem,
        "score": "" if result.score is None else pages.number(result.score + mine.points),
        "max_score": pages.number(most) if problem else "",
        "status": result.status,
        "reason": "; ".join(filter(None, (result.reason, waiting))),
        "submitted_at": result.submitted_at,
    }


def _withdraw_feedback(out: Path, written: set[Path], problems: Mapping[str, Problem]) -> None:
    """Remove the pages of submissions that are gone; those of problems that were not asked for stay."""
    names = {f"{safe_name(problem)}.html" for problem in ("", *problems)}
    for page in sorted((out / "feedback").glob("*/*.html")):
        if page.name in names and page not in written:
            page.unlink()
            if not any(page.parent.iterdir()):
                page.parent.rmdir()
