"""Names that students chose: which are refused, how they are shown, which folder they get."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Iterable

NAME_BYTES = 255
PATH_BYTES = 1000
_SHOWN = 100
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_HASHED = re.compile(r"-[0-9a-f]{8}$")


def unsafe_path(name: str) -> str:
    """Why a path must not be taken as it is: it leads elsewhere, or to different places on different systems; or ""."""
    parts = name.split("/")
    if name.startswith("/"):
        return "the path is absolute"
    if ".." in parts:
        return "the path leads out of the folder"
    if "\\" in name:
        return "the path has a backslash; was it packed with an old tool for Windows?"
    if re.match(r"[A-Za-z]:", name):
        return "the path names a drive"
    if "" in parts or "." in parts:
        return "the path has an empty part"
    return ""


def unsafe_characters(name: str) -> str:
    """Why a name cannot be shown or stored safely, or ""."""
    for character in name:
        kind = unicodedata.category(character)
        if kind == "Cs":
            return "the name is not UTF-8"
        if kind in ("Cc", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS):
            return "the name has control characters or invisible ones"
    if len(name.encode()) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in name.split("/")):
        return "the name is too long"
    return ""


def shown(name: str) -> str:
    """The name with everything unsafe written as an escape, cut when long; different names stay different."""
    text = "".join(
        character if character != "\\" and not unsafe_characters(character) else _escape(character)
        for character in name[: _SHOWN + 1]
    )
    return text if len(name) <= _SHOWN else f"{text}… {_hash(name)}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode() if character != "\\" else r"\\"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def safe_name(student: str) -> str:
    """The student's name as a folder name on any system; different names give different folders.

    Letters, digits, space and ``. @ + - _`` stay; a name with anything else, or one that some system refuses,
    gets a hash at its end.
    """
    name = unicodedata.normalize("NFC", student)
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" or c in " .@+-_" else "_" for c in name)
    kept = kept.strip(" .")[:60]
    if kept == name and kept and not _DEVICES.fullmatch(kept) and not _HASHED.search(kept):
        return kept
    return f"{kept or '_'}-{_hash(name)}"


def meant(file: str, slugs: Iterable[str]) -> str | None:
    """The problem whose file this was probably meant to be: "NTK-Matrix (1).ipynb" is ntk_matrix."""
    slugs = sorted(slugs, key=len, reverse=True)
    stem = file[:NAME_BYTES].lower().split(".")[0]
    stem = re.sub(r"\W+", "_", re.sub(r"\(\d+\)|\bcopy\d*\b", "", stem)).strip("_")
    inside = [slug for slug in slugs if slug in stem]
    close = difflib.get_close_matches(stem, slugs, n=1, cutoff=0.7)
    return (inside or close or [None])[0]
