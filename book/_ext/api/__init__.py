"""The reference of the package: signatures and docstrings of its public names, read when the page is built.

A page names the objects and their order, one module a directive; without a list it takes all of ``__all__``::

    ```{api} ntklab
    Dense Sequential
    ```

A name that a listed module exports and no directive of the page shows is a warning, and so is a name that the
module lacks: a build with ``-W`` fails.  Each entry is an object of the Python domain, so that
``{py:obj}`ntklab.train` `` links to it, and search finds it.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from . import objects
from .docstrings import body

LOGGER = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"


class Api(SphinxDirective):
    """``api``: entries for a module's public names."""

    required_arguments = 1
    has_content = True

    def run(self):
        module = importlib.import_module(self.arguments[0])
        public = objects.public_names(module)
        names = " ".join(self.content).split() or public
        if unknown := [name for name in names if name not in public]:
            raise self.error(f"api: {module.__name__} does not export {', '.join(unknown)}")
        shown = self.env.metadata[self.env.docname].setdefault("api", {})
        shown.setdefault(module.__name__, []).extend(names)
        return [self.entry(module, name) for name in names]

    def entry(self, module, name: str) -> addnodes.desc:
        """Signature, docstring and members of one name."""
        thing = getattr(module, name)
        kind = objects.kind_of(thing)
        prefix = "" if kind == "module" else f"{module.__name__}."
        content = body(thing)
        if source := objects.source_of(thing):
            self.env.note_dependency(source)
        if kind == "class":
            content += [self.described("attribute", field, "", field.name) for field in objects.fields(thing)]
            content += [
                self.described(member.kind, member, f"{module.__name__}.{name}.{member.name}", member.name)
                for member in objects.members(thing)
            ]
        full = f"{module.__name__}.{name}"
        return self.desc(kind, full, prefix, name, objects.signature_of(thing), content)

    def described(self, kind: str, member, full: str, name: str) -> addnodes.desc:
        return self.desc(kind, full, "", name, member.signature, body(member.thing, member.text))

    def desc(self, kind: str, full: str, prefix: str, name: str, signature, content) -> addnodes.desc:
        """One object of the Python domain; without a full name it is no target."""
        line = addnodes.desc_signature(
            "", "", classes=["sig", "sig-object", "py"], _toc_name="", _toc_parts=()
        )
        if full:
            node_id = f"api-{full}"
            line["ids"].append(node_id)
            line["fullname"] = full
            self.env.get_domain("py").note_object(full, kind, node_id, location=self.get_location())
        if kind in ("class", "module", "property"):
            line += addnodes.desc_annotation("", "", nodes.Text(f"{kind} "))
        if prefix:
            line += addnodes.desc_addname(prefix, prefix)
        line += addnodes.desc_name(name, name)
        if signature is not None:
            arguments = addnodes.desc_parameterlist("", "")
            arguments += [addnodes.desc_parameter("", "", nodes.Text(part)) for part in signature.arguments]
            line += arguments
            if signature.returns:
                line += addnodes.desc_returns("", "", nodes.Text(signature.returns))
        described = addnodes.desc("", line, domain="py", objtype=kind, desctype=kind, classes=["py", kind])
        described["no-index"] = described["noindex"] = False
        described += addnodes.desc_content("", *content)
        return described


def warn(app: Sphinx, env: BuildEnvironment) -> None:
    """Every exported name of a module that a page shows must be on that page."""
    for page, metadata in env.metadata.items():
        for name, shown in metadata.get("api", {}).items():
            public = objects.public_names(importlib.import_module(name))
            if missing := [each for each in public if each not in shown]:
                LOGGER.warning(
                    "api: not shown of %s: %s", name, ", ".join(missing), location=page, type="api"
                )
            if twice := sorted({each for each in shown if shown.count(each) > 1}):
                LOGGER.warning(
                    "api: shown twice of %s: %s", name, ", ".join(twice), location=page, type="api"
                )


def add_files(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The style, where it is used."""
    if "api" in app.env.metadata.get(pagename, {}):
        app.add_css_file("api.css")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_directive("api", Api)
    app.connect("env-check-consistency", warn)
    app.connect("html-page-context", add_files)
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
