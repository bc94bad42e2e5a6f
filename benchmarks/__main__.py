"""Run every module of this folder that has ``run() -> (title, header, rows)``, print its table and keep it.

``results.json`` holds the last table of each, with its date and the machine; the book shows it.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import pkgutil
import platform
import re
import sys
from pathlib import Path

import torch

import benchmarks

RESULTS = Path(__file__).with_name("results.json")


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, columns padded so that it reads well in a terminal too."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in padded), ""])


def machine() -> str:
    """Processor, cores, memory and versions, in a line."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    model = re.search(r"^model name\s*: (.+)$", info, re.M)
    cpu = model[1] if model else platform.processor() or platform.machine()
    parts = [cpu, f"{os.cpu_count()} logical cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory")
    return ", ".join([*parts, f"Python {platform.python_version()}", f"PyTorch {torch.__version__}"])


def busy() -> float:
    """Running programs for each core over the last minute: times mean little above about 0.5."""
    return os.getloadavg()[0] / os.cpu_count() if hasattr(os, "getloadavg") else 0.0


def keep(name: str, load: float, title: str, header: list[str], rows: list[list[str]]) -> None:
    """Put one table into ``results.json``, in place of its last one.  load: what ``busy`` said before it."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results[name] = {
        "title": title,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "busy": round(load, 1),
        "header": header,
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def main(chosen: list[str]) -> None:
    """All benchmarks, or those named on the command line."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    unknown = set(chosen) - set(names)
    if unknown:
        raise SystemExit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for name in chosen or names:
        run = getattr(importlib.import_module(f"benchmarks.{name}"), "run", None)
        if run:
            load = busy()
            try:
                result = run()
            except FileNotFoundError as error:  # data that is not part of this repository
                print(f"{name}: not run, {error}", flush=True)
                continue
            print(table(*result), flush=True)
            keep(name, load, *result)


if __name__ == "__main__":
    main(sys.argv[1:])
