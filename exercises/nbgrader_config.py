"""Settings of nbgrader, found when its commands are started in this folder.

Assignments are the folders of ``source``; ``release``, ``submitted``, ``autograded``, ``feedback`` and the gradebook
appear beside it.
"""

from pathlib import Path

c = get_config()  # noqa: F821  nbgrader defines it

c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints",
    "__pycache__",
    "*.py",  # the hidden checks and rubrics lie beside the sources and must not be released with them
]
c.ExecutePreprocessor.timeout = 120
