"""Which submissions are the same code under other names: fingerprints, and groups of them.

Code is cut into tokens; comments, docstrings, white space and what the released notebook holds already are
dropped.  Names that the student chose do not count, only where they come back: in every run of ``RUN`` tokens they
are numbered in order of appearance.  Of all runs, winnowing keeps some in a way that depends on the code alone
(Schleimer, Wilkerson & Aiken, SIGMOD 2003, sec. 3): any ``RUN + WINDOW - 1`` tokens in a row that two submissions
share leave a common mark in both.  The share of common marks (Jaccard index) is the similarity.

A fingerprint is a short list of integers, stored with the result, so that comparing a class needs no notebook.
"""

from __future__ import annotations

import builtins
import hashlib
import keyword
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

LONGEST = 100_000  # characters of code that are looked at
LONGEST_TEXT = 20_000  # characters of one written answer
RUN = 12  # tokens in a run
WINDOW = 5  # of so many runs in a row at least one leaves a mark
MOST = (
    1500  # marks that are kept: the smallest, which are a fair sample of all (Broder 1997, bottom sketches)
)
SHORTEST = 80  # tokens, or words; less than that coincides by chance
_BLOCK = 100  # rows of the table of pairs that are in memory at a time
NEAR = 0.8  # share of common marks from which two submissions are shown together

# One alternative for each kind; the last takes any character, so that every text has tokens.
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<string>[rRbBuUfFtT]{0,2}(?:\"{3}(?:[^\\]|\\.)*?(?:\"{3}|\Z)|'{3}(?:[^\\]|\\.)*?(?:'{3}|\Z)
        |"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))
    |(?P<name>[^\W\d]\w*)
    |(?P<number>(?:\d|\.\d)[\w.]*)
    |(?P<joined>\\\n)
    |(?P<newline>[\n;])
    |(?P<space>\s+?)
    |(?P<sign>\*\*=?|//=?|>>=?|<<=?|[-+*/%@&|^=!<>:]=|->|.)""",
    re.VERBOSE | re.DOTALL,
)
_KEPT = frozenset(keyword.kwlist) | frozenset(vars(builtins))


class Fingerprint(NamedTuple):
    """``size``: tokens of the student's own; ``whole``: number of the normalised code; ``marks``: sorted."""

    size: int
    whole: int
    marks: tuple[int, ...]

    def pack(self) -> list[int]:
        """As a flat list for JSON."""
        return [self.size, self.whole, *self.marks]

    @classmethod
    def unpack(cls, numbers: Sequence[int]) -> Fingerprint | None:
        """From such a list; None for an empty one."""
        return cls(numbers[0], numbers[1], tuple(numbers[2:])) if len(numbers) >= 2 else None


class Group(NamedTuple):
    """Members that are alike; ``least``: the lowest similarity of a member to its nearest one; 1 for the same code."""

    members: tuple[str, ...]
    least: float


def fingerprint(sources: Iterable[str], given: Iterable[str] = ()) -> list[int]:
    """What remains of the code that a student wrote; never parsed or run, so it may be anything.

    sources: the student's own code cells, in order
    given: what the notebook held before; statements of it do not count
    """
    known = {_plain(statement) for text in given for statement in _statements(text)}
    tokens, room = [], LONGEST
    for source in sources:
        for statement in _statements(source[:room]):
            if _plain(statement) not in known:
                tokens += [*statement, ("sign", "\n")]
        room -= len(source[:room])
    return _sketch(tokens)


def text_fingerprint(texts: Iterable[str]) -> list[int]:
    """The same for written answers: their words, whatever stands between them."""
    words = [("word", word) for text in texts for word in re.findall(r"\w+", text[:LONGEST_TEXT].lower())]
    return _sketch(words)


def _sketch(tokens: Sequence[tuple[str, str]]) -> list[int]:
    whole = _number(_renamed(tokens))
    runs = [_number(_renamed(tokens[i : i + RUN])) for i in range(len(tokens) - RUN + 1)]
    return Fingerprint(len(tokens), whole, tuple(sorted(_winnowed(runs))[:MOST])).pack()


def _statements(source: str) -> Iterator[list[tuple[str, str]]]:
    """Tokens of each logical line, without comments, white space and lines that are only a string."""
    line, depth = [], 0
    for match in _TOKEN.finditer(source.replace("\r\n", "\n") + "\n"):
        kind, token = match.lastgroup, match.group()
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)
        if kind == "newline" and depth <= 0:
            if any(kind != "string" for kind, _ in line):
                yield _marked(line)
            line, depth = [], 0
        elif kind in ("string", "name", "number", "sign"):
            line.append((kind, token))
    if line:
        yield _marked(line)


def _marked(line: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Tell names that the student may choose ("own") from attributes, keyword arguments, Python's own words."""
    marked, depth = [], 0
    defines = any(token in ("def", "lambda") for _, token in line)
    for i, (kind, token) in enumerate(line):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)
        if kind == "name" and token not in _KEPT:
            attribute = i > 0 and line[i - 1][1] == "."
            argument = depth > 0 and not defines and i + 1 < len(line) and line[i + 1][1] == "="
            kind = "name" if attribute or argument else "own"
        marked.append((kind, token))
    return marked


def _plain(statement: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(token for _, token in statement)


def _renamed(tokens: Sequence[tuple[str, str]]) -> str:
    """Tokens with the student's names numbered in order of appearance."""
    numbers = {}
    return "\0".join(
        f"\1{numbers.setdefault(token, len(numbers))}" if kind == "own" else token for kind, token in tokens
    )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest(), "big")


def _winnowed(runs: list[int]) -> set[int]:
    """The least of every WINDOW runs in a row."""
    return {min(runs[i : i + WINDOW]) for i in range(max(1, len(runs) - WINDOW + 1))} if runs else set()


def groups(prints: Iterable[tuple[str, Sequence[int]]]) -> tuple[list[Group], list[Group]]:
    """Groups of identical and of near-identical submissions, each in the order of names.

    prints: (name, fingerprint) of each; those with fewer than SHORTEST tokens are left out.
    In a group of near ones everyone is at least NEAR to somebody else; identical ones count once there.
    """
    alike = defaultdict(list)
    marks = {}
    for name, numbers in prints:
        one = Fingerprint.unpack(numbers)
        if one is not None and one.size >= SHORTEST:
            alike[one.size, one.whole].append(name)
            marks[one.size, one.whole] = one.marks
    identical = sorted(Group(tuple(sorted(names)), 1.0) for names in alike.values() if len(names) > 1)
    keys = list(alike)
    near = []
    for members, least in _near([marks[key] for key in keys]):
        names = sorted(name for i in members for name in alike[keys[i]])
        near.append(Group(tuple(names), least))
    return identical, sorted(near)


def _near(marks: list[tuple[int, ...]]) -> Iterator[tuple[list[int], float]]:
    """Connected groups of indices whose Jaccard index reaches NEAR, with the least of their best indices."""
    if len(marks) < 2:
        return
    from scipy import sparse

    sizes = np.array([len(one) for one in marks])
    values, columns = np.unique(
        np.concatenate([np.array(one, dtype=np.int64) for one in marks]), return_inverse=True
    )
    shape = (len(marks), len(values))
    rows = np.repeat(np.arange(len(marks)), sizes)
    table = sparse.csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=shape)
    columns_first = table.T.tocsr()
    groups, best = np.arange(len(marks)), np.zeros(len(marks))
    for start in range(0, len(marks), _BLOCK):
        common = (table[start : start + _BLOCK] @ columns_first).toarray()
        for i, row in enumerate(common, start):
            index = row / np.maximum(sizes + sizes[i] - row, 1)
            index[i] = 0
            best[i] = index.max()
            near = groups[index >= NEAR]
            if near.size:  # pairs are not kept: of a class that all copied there would be millions
                groups[np.isin(groups, [*near, groups[i]])] = min(near.min(), groups[i])
    for group in np.flatnonzero(np.bincount(groups) > 1):
        members = np.flatnonzero(groups == group).tolist()
        yield members, float(best[members].min())
