"""What comes back from a sandbox, line by line: it may come from the learner's code, and is read accordingly."""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass

LONGEST = 2**16  # bytes of the report of a cell: its message is cut well below that
_MARKS = 100_000  # brackets and quotes in one line: a line of nothing else is 20 times larger in memory
_DIGITS = 20  # of integers with 64 bits
_LONGEST_NAME, _LONGEST_MESSAGE = 100, 2000
_ERRORS = {
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}


class Malformed(ValueError):
    """A line that is neither the report nor the answer that was to come."""


@dataclass(frozen=True)
class CellReport:
    """What became of a cell: the class of its error or None, the error's text, and the line that raised it."""

    index: int
    error: str | None
    message: str = ""
    line: int | None = None


def cell_report(index: int, line: bytes) -> CellReport:
    """The report of the cell with this number.

    Raises:
        Malformed: it is something else.
    """
    match _parse(line):
        case {
            "cell": int() as cell,
            "error": str() | None as error,
            "message": str() as message,
            "line": number,
        }:
            if cell == index and (number is None or (type(number) is int and 0 < number < 10**6)):
                error = None if error is None else _text(error, _LONGEST_NAME)
                return CellReport(index, error, _text(message, _LONGEST_MESSAGE), number)
    raise Malformed("not the report of a cell")


def answer(line: bytes) -> dict:
    """The answer to a call: a value (which ``wire.decode_answer`` takes apart), an error's name, or undefined.

    Raises:
        Malformed: it is something else.
    """
    item = _parse(line)
    match list(item.items()):
        case [("value", dict())] | [("undefined", True)]:
            return item
        case [("error", str() as name)]:
            return {"error": name if name in _ERRORS else "Exception"}
    raise Malformed("not an answer")


def _parse(line: bytes) -> dict:
    """One object in standard JSON that is not much larger in memory than on the line."""
    if sum(map(line.count, (b"[", b"{", b'"'))) > _MARKS:
        raise Malformed("too many brackets and quotes")
    try:
        item = json.loads(line, parse_constant=_no_constant, parse_int=_small_int)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(item, dict):
        raise Malformed("not an object")
    return item


def _no_constant(word: str):
    raise ValueError(f"{word} is not standard JSON")


def _small_int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("more digits than an integer of 64 bits has")
    return int(digits)


def _text(text: str, longest: int) -> str:
    return text[:longest].encode(errors="replace").decode()  # half a surrogate pair fits into no file
