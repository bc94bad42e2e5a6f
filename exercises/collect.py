"""Sort an export of Canvas or Gradescope into folders: ``python -m exercises.collect EXPORT.zip --out SUBMITTED``.

The grader reads ``STUDENT/PROBLEM.ipynb``.  Canvas exports a flat zip, ``NAME[_LATE]_USER_FILE_PROBLEM[-ATTEMPT].ipynb``;
here STUDENT is the number USER, the column ID of Canvas' gradebook.  Gradescope exports folders ``submission_NUMBER`` and a
file ``submission_metadata.yml``; here STUDENT is the email address.  Moodle's export with folders needs no sorting.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from exercises.grading.archives import ArchiveError, Entry, Unreadable, open_submitted
from exercises.grading.names import safe_name, shown
from exercises.grading.problem import all_problems

METADATA = "submission_metadata.yml"
_CANVAS = re.compile(r"(?:[^/]*?_)?(?:LATE_)?(?P<user>\d+|anon_[^_/]+)_(?P<file>\d+)_(?P<name>[^/]+)")
_ATTEMPT = re.compile(r"-(\d+)(?=\.ipynb$)")


def sort(export: Path, out: Path) -> list[str]:
    """Write every notebook of an export as ``OUT/STUDENT/FILE`` and return what was left out, one sentence each.

    Of several attempts at one problem the last is kept.  Nothing that exists is overwritten.

    Raises:
        ArchiveError: the export cannot be read, or is neither of Canvas nor of Gradescope.
        FileExistsError: ``out`` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"--out: {out} is not empty")
    reader = open_submitted(export)
    entries = [entry for entry in reader.entries() if not entry.name.startswith("__MACOSX/")]
    metadata = next((entry for entry in entries if entry.name.split("/")[-1] == METADATA), None)
    if metadata is not None:
        (_, content), *_ = reader.contents([metadata.key])
        places, left = _by_gradescope(entries, _emails(content))
    else:
        places, left = _by_canvas(entries)
    if not places:
        raise ArchiveError(
            f"{export}: no notebook named as Canvas or Gradescope name them; for Moodle's folders no sorting is needed"
        )
    times = {entry.key: entry.time for entry in entries}
    for key, content in reader.contents(list(places)):
        student, name = places[key]
        if isinstance(content, Unreadable):
            left.append(f"{shown(student)}: {shown(name)} {content}")
            continue
        file = out / safe_name(student) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if times[key] is not None:
            os.utime(file, (times[key], times[key]))
    return left


def _by_canvas(entries: list[Entry]) -> tuple[dict[object, tuple[str, str]], list[str]]:
    """Student and file name of the last attempt at each problem, by key; and what is something else."""
    chosen, left = {}, []
    for entry in entries:
        match = _CANVAS.fullmatch(entry.name)
        if match is None or entry.trouble or not _is_plain(match["name"]):
            left.append(f"{shown(entry.name)}: {entry.trouble or 'not named as Canvas names submissions'}")
            continue
        attempt = _ATTEMPT.search(match["name"])
        name = match["name"]
        if attempt and name.removesuffix(".ipynb") not in all_problems():
            name = _ATTEMPT.sub("", name)
        order = int(attempt[1]) if attempt else 0, int(match["file"])
        old = chosen.get((match["user"], name))
        if old is None or old[0] < order:
            chosen[match["user"], name] = order, entry.key
    return {key: place for place, (_, key) in chosen.items()}, left


def _by_gradescope(
    entries: list[Entry], emails: Mapping[str, list[str]]
) -> tuple[dict[object, tuple[str, str]], list[str]]:
    """The same for folders; a group's notebook goes to its first member, and the others are named."""
    places, left = {}, []
    for entry in entries:
        parts = entry.name.split("/")
        folder = parts[-2] if len(parts) > 1 else ""
        if parts[-1] == METADATA:
            continue
        if folder not in emails or entry.trouble or not _is_plain(parts[-1]):
            left.append(
                f"{shown(entry.name)}: {entry.trouble or 'not in a folder that ' + METADATA + ' names'}"
            )
            continue
        first, *others = emails[folder]
        if others:
            left.append(
                f"{shown(entry.name)}: handed in by {first} together with {', '.join(map(shown, others))}"
            )
        places[entry.key] = first, parts[-1]
    return places, left


def _emails(content: bytes | Unreadable) -> dict[str, list[str]]:
    """Who handed in each folder."""
    import yaml

    if isinstance(content, Unreadable):
        raise ArchiveError(f"{METADATA}: the file {content}")
    try:
        folders = yaml.load(content, Loader=yaml.BaseLoader)  # text only, whatever tags say
        return {
            folder: [str(person[":email"]) for person in about[":submitters"]]
            for folder, about in folders.items()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{METADATA}: not the form that Gradescope writes ({type(error).__name__})"
        ) from None


def _is_plain(name: str) -> bool:
    """Whether a file name may be used as it is."""
    return safe_name(name) == name and name.endswith(".ipynb")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m exercises.collect", description=__doc__.split("\n")[0])
    parser.add_argument("export", type=Path, metavar="EXPORT", help="zip from Canvas or Gradescope")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for STUDENT/PROBLEM.ipynb; new or empty"
    )
    options = parser.parse_args(arguments)
    try:
        left = sort(options.export, options.out)
    except (ArchiveError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for sentence in left:
        print(f"left out or to look at: {sentence}")
    print(
        f"{len(list(options.out.glob('*/*')))} notebooks of {len(list(options.out.iterdir()))} students in {options.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
