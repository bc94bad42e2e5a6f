"""The reference of the package: the page shows every public name, and docstrings arrive as they were meant."""

import importlib
import inspect
import re
import sys
from collections import Counter

import pytest
from docutils import nodes

import ntklab as nl

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from api import docstrings, objects

MODULES = ("ntklab", "ntklab.convergence", "ntklab.generalization", "ntklab.feature_learning", "ntklab.data")
DIRECTIVE = re.compile(r"^```\{api\} (\S+)\n(.*?)^```", re.M | re.S)


def listed() -> dict[str, Counter]:
    """Module -> how often the page lists each name; a directive without names lists all."""
    found = {}
    for module, body in DIRECTIVE.findall((ROOT / "book/reference/api.md").read_text(encoding="utf-8")):
        names = body.split() or importlib.import_module(module).__all__
        found.setdefault(module, Counter()).update(names)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_the_page_lists_exactly_the_public_names_each_once(module):
    assert listed()[module] == Counter(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring_and_a_signature(module):
    home = importlib.import_module(module)
    for name in home.__all__:
        thing = getattr(home, name)
        assert inspect.getdoc(thing), name
        if not inspect.ismodule(thing):
            arguments = objects.signature_of(thing).arguments
            assert all(" at 0x" not in argument for argument in arguments), name


def test_the_built_page_has_a_target_for_every_name(built_book):
    page = (built_book / "book/reference/api.html").read_text(encoding="utf-8")
    ids = set(re.findall(r'id="api-([\w.]+)"', page))
    wanted = {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__}
    assert wanted <= ids


def test_signatures_read_as_in_the_source():
    def example(x, *rest: float, scale: "str | None" = None, work=len) -> "nodes.Element":
        """Words."""

    found = objects.signature_of(example)
    assert found.arguments == ("x", "*rest: float", "scale: str | None = None", "work=len")
    assert found.returns == "nodes.Element"
    keyword = objects.signature_of(lambda x, *, t=1.0: x)
    assert keyword.arguments == ("x", "*", "t=1.0")


def test_fields_with_words_of_their_own_and_methods_are_found():
    assert [field.name for field in objects.fields(nl.History)][:2] == ["steps", "loss"]
    methods = {member.name: member.kind for member in objects.members(nl.GradientFlow)}
    assert {"train": "method", "test": "method", "max_learning_rate": "property"}.items() <= methods.items()
    assert "kernel" in {member.name for member in objects.members(nl.Layer)}
    assert "kernel" not in {member.name for member in objects.members(nl.Dense)}  # it stands at Layer


def test_a_docstring_keeps_formulas_lists_arguments_and_reads_nothing_as_markup():
    def example(x, y_, rate):
        """Solve |f - y|^2 = 0 with *all* of ``x`` and `y_`.

        The flow is

            df/dt = -eta (f - y)
              + 0

        x: inputs (n, d),
            cast to float.
        y_: targets.

        a = 1
        b = 2

        Args:
            rate: eta.

                A second paragraph.

        Raises:
            ValueError, TypeError: by name.

        Source: Jacot et al. (2018), eq. 3.
        """

    found = docstrings.body(example)
    first, flow, formula, arguments, kept, *sections = found
    assert first.astext() == "Solve |f - y|^2 = 0 with *all* of x and y_."
    assert [node.astext() for node in first.findall(nodes.literal)] == ["x", "y_"]
    assert flow.astext() == "The flow is"
    assert isinstance(formula, nodes.literal_block) and formula.astext() == "df/dt = -eta (f - y)\n  + 0"
    assert [term.astext() for term in arguments.findall(nodes.term)] == ["x", "y_"]
    assert next(arguments.findall(nodes.definition)).astext() == "inputs (n, d), cast to float."
    assert kept.astext() == "a = 1\nb = 2"
    titles = [node.astext() for node in sections if "api-section" in node.get("classes", [])]
    assert titles == ["Args", "Raises", "Source"]
    rate = next(sections[1].findall(nodes.definition))
    assert [paragraph.astext() for paragraph in rate] == ["eta.", "A second paragraph."]
    assert sections[-1].astext() == "Jacot et al. (2018), eq. 3."


@pytest.mark.parametrize("module", MODULES)
def test_no_word_of_a_docstring_is_lost(module):
    home = importlib.import_module(module)
    for name in home.__all__:
        words = re.findall(r"\w+", inspect.getdoc(getattr(home, name)))
        shown = " ".join(node.astext() for node in docstrings.body(getattr(home, name)))
        assert Counter(re.findall(r"\w+", shown)) == Counter(words), name
