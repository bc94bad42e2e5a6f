"""What there is to say about a public name: its kind, signature, fields and members."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

PACKAGE = "ntklab"


@dataclass(frozen=True)
class Signature:
    """Arguments as text, and what is returned."""

    arguments: tuple[str, ...]
    returns: str = ""


@dataclass(frozen=True)
class Member:
    """Part of a class; ``text`` is its docstring where the object itself has none."""

    name: str
    kind: str
    thing: Any = None
    text: str | None = None
    signature: Signature | None = None


def public_names(module: ModuleType) -> list[str]:
    """``__all__``, or what is defined in the module itself and has a docstring."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=lambda name: (name[0].islower(), name.lower()))
    own = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
    }
    return [name for name, value in own.items() if not name.startswith("_") and value.__doc__]


def kind_of(thing: Any) -> str:
    """The word of the Python domain."""
    return "module" if inspect.ismodule(thing) else "class" if inspect.isclass(thing) else "function"


def source_of(thing: Any) -> str | None:
    """The file that defines it."""
    try:
        return inspect.getsourcefile(thing)
    except TypeError:
        return None


def signature_of(thing: Any) -> Signature | None:
    """Arguments with annotations and defaults; None for a module."""
    if inspect.ismodule(thing):
        return None
    found = inspect.signature(thing)
    arguments, star = [], False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            arguments.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        note = annotation(parameter.annotation)
        text = mark + parameter.name + (f": {note}" if note else "")
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}" if note else f"={default(parameter.default)}"
        arguments.append(text)
    returns = "" if inspect.isclass(thing) else annotation(found.return_annotation)
    return Signature(tuple(arguments), returns)


def annotation(value: Any) -> str:
    """As it stands in the source."""
    if value is inspect.Parameter.empty:
        return ""
    if isinstance(value, str):
        return value
    if value is None:
        return "None"
    return getattr(value, "__forward_arg__", None) or getattr(value, "__name__", None) or str(value)


def default(value: Any) -> str:
    """As one would write it: no addresses of functions."""
    return value.__name__ if callable(value) else re.sub(r"<([\w.]+) at 0x\w+>", r"\1", repr(value))


def fields(cls: type) -> list[Member]:
    """Annotated attributes that a docstring of their own follows in the source, here and in the bases."""
    found: dict[str, Member] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith(PACKAGE):
            continue
        try:
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):
            continue
        for one, after in zip(node.body, node.body[1:], strict=False):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(one, ast.AnnAssign) and told and isinstance(after.value.value, str):
                name = one.target.id
                found[name] = Member(name, "attribute", text=inspect.cleandoc(after.value.value))
    return list(found.values())


def members(cls: type) -> list[Member]:
    """Public methods and properties with docstrings of their own, from the class and its unexported bases."""
    found: dict[str, Member] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith(PACKAGE) or (base is not cls and exported(base)):
            continue
        for name, value in vars(base).items():
            inner = getattr(value, "__func__", value)
            if name.startswith("_") or not (inspect.isfunction(inner) or isinstance(value, property)):
                continue
            if isinstance(value, property):
                kind, signature = "property", None
            else:
                kind, signature = "method", signature_of(inner)
            if value.__doc__:
                found[name] = Member(name, kind, value, signature=signature)
    return list(found.values())


def exported(cls: type) -> bool:
    """Whether the class has an entry of its own: a layer's methods stand at ``Layer``."""
    package = __import__(PACKAGE)
    return getattr(package, cls.__name__, None) is cls
