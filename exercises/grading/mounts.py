"""What a sandbox can see: options for bwrap that mount the system, Python, the listed packages and the kit.

Everything lies where it lies outside, read-only, and nearly everything else is absent: the sandbox has no home
folder of the user, no course but ``kit.py`` and its own program, no package that a problem does not list.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
import urllib.parse
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

SHELL = "IPython"  # runs the cells, so that magics work
SCRATCH = "/tmp"
HOME = "/tmp/home"

_COURSE = Path(__file__).resolve().parents[2]
_PROGRAM = tuple(
    _COURSE / "exercises" / name
    for name in ("__init__.py", "kit.py", "grading/__init__.py", "grading/wire.py", "grading/inside.py")
)
# The kit's own place for it comes first: in the library's, an empty library could be imported.
_DATA = {_COURSE / "exercises/data/mnist_10k.npz": _COURSE / "ntklab/data/mnist_10k.npz"}
# IPython works without them, and starts faster; they complete and colour what a person types.
_LEFT_OUT = {"jedi", "parso", "prompt-toolkit"}
_MODULE_FOLDERS = ("site-packages", "dist-packages")
_MATPLOTLIB_CACHE = f"{HOME}/.matplotlib"


class SandboxError(RuntimeError):
    """The sandbox itself failed; this says nothing about the submission."""


def options(packages: tuple[str, ...], files: dict[str, int], disk: int) -> list[str]:
    """Options for bwrap: the whole file system of a sandbox.

    packages: names of installed distributions; what they require comes along.
    files: open descriptors whose content becomes a file of that name.
    disk: bytes that each place to write may hold.

    Raises:
        SandboxError: a name in ``packages`` that is not installed.
    """
    _compile_shell()
    places, hidden = visible(packages), _hidden_folders()
    lines = [
        *_system(),
        *(word for name, file in files.items() for word in ("--perms", "0644", "--file", file, name)),
        *("--dev", "/dev", "--size", disk, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),
        *("--size", disk, "--perms", "1777", "--tmpfs", SCRATCH, "--perms", "0777", "--dir", HOME),
        *_interpreter(),
        *(word for folder in hidden for word in ("--perms", "0755", "--tmpfs", folder)),
        *_parents(places),
        *(word for place, source in places.items() for word in ("--ro-bind", source, place)),
        *_fonts(packages),
        *("--proc", "/proc"),
        *(word for folder in (*hidden, "/") for word in ("--remount-ro", folder)),
        *("--chdir", HOME),
    ]
    return [str(word) for word in lines]


def environment(packages: tuple[str, ...], home: str = HOME) -> dict[str, str]:
    """All environment variables of a learner's process."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "NUMBA")
    return {
        **{f"{library}_NUM_THREADS": "1" for library in threads},
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": ":".join(map(str, search_path(packages))),
        "TZ": "UTC",
        "USER": "learner",
    }


def etc(user: int) -> dict[str, bytes]:
    """What the C library looks up; nothing of the machine's own users and network."""
    return {
        "/etc/passwd": f"learner:x:{user}:{user}::{HOME}:/bin/sh\n".encode(),
        "/etc/group": f"learner:x:{user}:\n".encode(),
        "/etc/hosts": b"127.0.0.1 localhost\n",
        "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    }


def interpreter() -> Path:
    """Python itself, outside of any virtual environment."""
    return Path(sys._base_executable).resolve()


def search_path(packages: tuple[str, ...]) -> list[Path]:
    """The folders in which a learner's imports are looked for, the course's first."""
    return list(dict.fromkeys([_COURSE, *(entry.parent for entry in _closure((SHELL, *packages)))]))


def visible(packages: tuple[str, ...]) -> dict[Path, Path]:
    """Files and folders of the packages, of what they require and of the course: where they appear, where they are."""
    places = {path: path for path in (*_PROGRAM, *_closure((SHELL, *packages)))}
    for path in list(places):
        compiled = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        if path.suffix == ".py" and compiled.exists():
            places[compiled] = compiled
    return places | {place: source for place, source in _DATA.items() if source.exists()}


@cache
def _closure(names: tuple[str, ...]) -> tuple[Path, ...]:
    """What the named distributions, and all that they require, have at the top of their folders of modules."""
    seen, waiting, entries = set(), [(name, frozenset()) for name in names], {}
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if (key, extras) in seen or key in _LEFT_OUT:
            continue
        seen.add((key, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in names:
                raise SandboxError(f"packages: {name!r} is not installed here") from None
            continue  # required on other systems only
        entries |= dict.fromkeys(_top_level(distribution))
        waiting += _requirements(distribution, extras)
    return tuple(entries)


def _requirements(distribution: metadata.Distribution, extras: frozenset[str]):
    """Names and extras of what a distribution requires.

    Other markers than extras are ignored: what is installed and not needed does no harm.
    """
    for line in distribution.requires or []:
        requirement, _, marker = line.partition(";")
        wanted = set(re.findall(r"""extra\s*==\s*['"]([^'"]+)""", marker))
        if not wanted or wanted & extras:
            name, inner = re.match(r"\s*([\w.-]+)\s*(?:\[([^]]*)\])?", requirement).groups()
            yield name, frozenset(re.findall(r"[\w.-]+", inner or ""))


def _top_level(distribution: metadata.Distribution) -> Iterator[Path]:
    """What a distribution has put into its folder of modules, or the modules of a working copy."""
    folder = Path(distribution.locate_file("")).resolve()
    project = json.loads(distribution.read_text("direct_url.json") or "{}")
    if project.get("dir_info", {}).get("editable"):
        folder = Path(urllib.parse.unquote(urllib.parse.urlparse(project["url"]).path))
    elif distribution.read_text("RECORD") is not None:
        names = {file.parts[0] for file in distribution.files or []} - {"..", "/", "__pycache__"}
        yield from (
            folder / name for name in sorted(names) if (folder / name).exists() and name[-4:] != ".pth"
        )
        return
    modules = (distribution.read_text("top_level.txt") or distribution.name.replace("-", "_")).split()
    for path in (root / name for root in (folder, folder / "src") for name in modules):
        yield from (place for place in (path, path.with_suffix(".py")) if place.exists())


def _system():
    """Shared libraries and where to find them, commands, time zones and fonts of the machine."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", path.readlink(), path)
        elif path.is_dir():
            yield from ("--ro-bind", path, path)
    yield from ("--perms", "0755", "--dir", "/usr", "--perms", "0755", "--dir", "/usr/share")
    yield from ("--perms", "0755", "--dir", "/etc")
    usr = ("bin", "lib", "lib32", "lib64", "share/zoneinfo", "share/fonts")
    for path in (*(f"/usr/{name}" for name in usr), "/etc/ld.so.cache", "/etc/alternatives"):
        yield from ("--ro-bind-try", path, path)


def _interpreter():
    """Python with its standard library, wherever it is installed."""
    prefix = Path(sys.base_prefix).resolve()
    if prefix != Path("/usr"):
        places = [interpreter(), *(folder for name in ("lib", "lib64") if (folder := prefix / name).is_dir())]
        yield from _parents(places)
        for place in places:
            yield from ("--ro-bind", place, place)


def _hidden_folders() -> list[Path]:
    """Folders of installed modules inside of what ``_system`` and ``_interpreter`` mount."""
    roots = {Path("/usr"), Path(sys.base_prefix).resolve()}
    patterns = [f"lib*/python3*/{name}" for name in _MODULE_FOLDERS]
    found = {path.resolve() for root in roots for pattern in patterns for path in root.glob(pattern)}
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    return sorted(found | {path for name in _MODULE_FOLDERS if (path := stdlib / name).is_dir()})


def _parents(places):
    """Make the folders above some places; those that bwrap makes by itself only root could enter."""
    parents = {parent for place in places for parent in place.parents}
    for parent in sorted(parents - {Path("/"), Path("/usr"), Path("/tmp")}):
        yield from ("--perms", "0755", "--dir", parent)


def _fonts(packages: tuple[str, ...]):
    if any(entry.name == "matplotlib" for entry in _closure((SHELL, *packages))):
        yield from ("--perms", "0777", "--dir", _MATPLOTLIB_CACHE)
        for fonts in _font_lists():
            yield from ("--ro-bind", fonts, f"{_MATPLOTLIB_CACHE}/{fonts.name}")


@cache
def _font_lists() -> list[Path]:
    """matplotlib's list of the machine's fonts, made outside once: it takes longer than most notebooks."""
    folder = _outside("import matplotlib.font_manager, matplotlib; print(matplotlib.get_cachedir())")
    return sorted(Path(folder).glob("fontlist-*.json")) if folder else []


@cache
def _compile_shell() -> None:
    """Have IPython's byte code written, if its installer did not: a sandbox would compile it again every time."""
    (package,) = (entry for entry in _closure((SHELL,)) if entry.name == SHELL)
    module = package / "core" / "interactiveshell.py"
    if not Path(importlib.util.cache_from_source(str(module))).exists():
        _outside("import IPython.core.interactiveshell")


def _outside(program: str) -> str:
    """What a program prints that is run by this Python as it is, with its caches."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip()
