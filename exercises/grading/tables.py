"""CSV files that people edit: written for spreadsheets, read back from any of them, errors by line."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class TableError(ValueError):
    """A file that cannot be read as it is; the message names the file and the line."""


def guard(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula: ``'`` before ``=``, ``+``, ``-``, ``@`` and tab.

    A cell that starts with ``'`` gets one more, so that ``unguard`` always gives back what was written.
    """
    cell = str(cell)
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


def unguard(cell: str) -> str:
    """Undo ``guard``; spreadsheets that swallowed the ``'`` do no harm."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def dump(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([guard(cell) for cell in row] for row in rows)
    return text.getvalue()


def read(path: Path, columns: Iterable[str] = ()) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and for each row its line and its cells by column; empty rows are left out.

    Comma, semicolon or tab between the cells, a byte order mark, any line ends: whatever a spreadsheet saves
    as "CSV UTF-8".  What ``guard`` added is taken away.

    Raises:
        TableError: not UTF-8, one of ``columns`` missing, a column twice, too many or too few cells.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TableError(f"{path}, line {line}: not UTF-8; save it as “CSV UTF-8”") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    separator = max(",;\t", key=first.count)
    if first.lower().startswith("sep="):  # Excel's own way to name the separator
        separator, text = first[4:5], rest
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    offset = 1 if first.lower().startswith("sep=") else 0
    header, rows, line = None, [], 1
    try:
        for row in reader:
            start, line = line + offset, reader.line_num + 1
            cells = [unguard(cell) for cell in row]
            if header is None:
                header = _header(path, start, cells, columns)
            elif any(cell.strip() for cell in cells):
                if len(cells) < len(header) or any(cells[len(header) :]):
                    raise TableError(f"{path}, line {start}: expected {len(header)} cells, got {len(cells)}")
                rows.append((start, dict(zip(header, cells, strict=False))))
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num + offset}: {error}") from None
    if header is None:
        raise TableError(f"{path}, line 1: the file is empty, expected a header with {', '.join(columns)}")
    return header, rows


def _header(path: Path, line: int, cells: list[str], columns: Iterable[str]) -> list[str]:
    cells = [cell.strip() for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    for name in columns:
        if name not in cells:
            raise TableError(
                f"{path}, line {line}: no column {name!r}; the header is {', '.join(cells) or 'empty'}"
            )
    twice = {name for name in cells if cells.count(name) > 1}
    if twice:
        raise TableError(f"{path}, line {line}: the column {min(twice)!r} stands there twice")
    return cells


def points(cell: str, most: float) -> float | None:
    """Points that someone typed: ``2``, ``1.5`` or ``1,5``, to two decimals; None for an empty cell.

    Raises:
        ValueError: not a number from 0 to ``most``.
    """
    if not cell.strip():
        return None
    try:
        value = float(cell.strip().replace(",", "."))
    except ValueError:
        raise ValueError(f"points must be a number, got {cell!r}") from None
    if not 0 <= value <= most:
        raise ValueError(f"points must be from 0 to {most:g}, got {cell!r}")
    return round(value, 2)


def replace(path: Path, content: str | bytes) -> bool:
    """Write a file as a whole or not at all; False if it held ``content`` already."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return True
