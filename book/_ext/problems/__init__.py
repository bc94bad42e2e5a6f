"""Problem sets in the book, straight from the notebooks of ``exercises/source``, and a book without solutions.

A page of problems needs nothing but::

    ```{problem-set} definition
    ```

which shows every notebook of that folder, the easiest first.  ``{problem} definition/ntk_matrix`` shows one of
them, ``{problem-list} definition`` names them with their tasks on paper and in code, for the chapter, and
``{problem-table}`` names all of them; its body says which classical exercises they are::

    ```{problem-table}
    ntk_matrix: implement the NTK matrix; test the linearisation
    ```

With ``course_solutions: false`` in ``_config.yml`` the book holds no solution of any exercise (see ``solutions``).
"""

from __future__ import annotations

import sys

from sphinx.application import Sphinx

from . import directives, solutions


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    sys.path.append(str(app.srcdir))  # where the package `exercises` lies
    app.add_config_value("course_solutions", True, "env", types=[bool])
    app.add_directive("problem", directives.OneProblem)
    app.add_directive("problem-set", directives.ProblemSet)
    app.add_directive("problem-list", directives.ProblemList)
    app.add_directive("problem-table", directives.ProblemTable)
    app.connect("env-get-outdated", directives.outdated)
    app.connect("builder-inited", solutions.empty_output)
    app.connect("source-read", solutions.strip_source)
    app.connect("doctree-read", solutions.warn_of_leftovers)
    app.connect("doctree-read", solutions.hide_criteria)
    app.connect("build-finished", solutions.strip_copies)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
