"""Run every module of this folder that has ``run() -> (title, header, rows)`` and print its table."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, columns padded so that it reads well in a terminal too."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in padded), ""])


def main(chosen: list[str]) -> None:
    """All benchmarks, or those named on the command line."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    unknown = set(chosen) - set(names)
    if unknown:
        raise SystemExit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for name in chosen or names:
        run = getattr(importlib.import_module(f"benchmarks.{name}"), "run", None)
        if run:
            print(table(*run()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
