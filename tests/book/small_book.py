"""A book of one page that holds every kind of interactive element, built like the course itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from .conftest import ROOT, build, sources

PAGE = r"""---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# Small

A formula, $\Theta(x, x')$.

```{code-cell}
from ntklab import plotting
from ntklab.explorer import explorer


def decay(width, learning_rate, mode):
    figure, axes = plotting.figure()
    steps = range(30)
    axes.plot(steps, [(1 - learning_rate / width) ** t for t in steps], **plotting.series(0), label=mode)
    axes.set(xlabel="time (steps)", ylabel="error", ylim=(0, 1))
    axes.legend()
    return figure


explorer(
    decay,
    alt="Error of the {mode} mode at width {width}, learning rate {learning_rate}",
    title=r"Decay of $e^{-\eta\lambda t}$",
    caption=r"Wider is slower: rate $\eta/m$.",
    labels={"width": "width $m$", "learning_rate": r"$\eta$"},
    width=[2, 4, 8],
    learning_rate=[0.1, 0.2, 0.4, 0.8],
    mode=["first", "second"],
)
```

```{code-cell}
words = "Second: {width} {learning_rate} {mode}"
explorer(decay, alt=words, width=[3, 6], learning_rate=[0.5], mode=["only"])
```

```{code-cell}
plotting.show(decay(2, 0.3, "shown"), alt="Error falls by a third a step", caption="Rate $0.85$.")
```

```{quiz}
How does the fluctuation of $\Theta$ fall with the width $m$?

- [x] As $m^{-1/2}$
  => It is an average of $m$ terms.
- [ ] As $m^{-1}$, says an option that is too long for one line of a phone, whatever its font
  => That is its *variance*.

  $$\int_0^1 x\,\mathrm{d}x$$
- [ ] $m$
  => It falls.
```

```{quiz}
Which of these are kernels?

On the real line, $x, x' \in \mathbb{R}$.

- [x] $xx'$
  => An inner product.
- [ ] $-xx'$
  => Negative on the diagonal.
- [x] $1 + xx'$
  => A sum of kernels.
```

```{predict}
You double the width. What happens to a single weight's movement?

- It halves
- It falls by $\sqrt 2$

=> Look at the **slope**.
```

```{predict}
:answer: number
:unit: steps
How long until the loss has halved?

=> Compare with the dashed line.
```

```{predict}
Why?

=> Compare with the proof.
```
"""


def needed(name: Path) -> bool:
    """Whether a source file is one of those that every page is built with."""
    folders = (("ntklab",), ("book", "_ext"), ("book", "assets"))
    at_root = len(name.parts) == 1
    return at_root or name.suffix == ".bib" or any(name.parts[: len(folder)] == folder for folder in folders)


@pytest.fixture(scope="session")
def small_page(tmp_path_factory) -> Path:
    """The built page of the small book; one build serves all workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root, done = shared / "small", shared / "small-built"
    with FileLock(f"{root}.lock"):
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            for name in filter(needed, sources()):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
            (root / "small.md").write_text(PAGE)
            (root / "_toc.yml").write_text("format: jb-book\nroot: small\n")
            if (ROOT / "node_modules").is_dir():
                (root / "node_modules").symlink_to(ROOT / "node_modules")
            build(root, "-W", "--keep-going")
            done.touch()
    return root / "_build" / "html" / "small.html"
