"""Honest solutions of definition/ntk_matrix in as many styles as people have: all are worth all 13 points."""

from __future__ import annotations

import inspect
import json
import textwrap

from tests.exercises.attempts import ntk_matrix as attempts
from tests.exercises.grading import samples
from tests.exercises.grading.samples import NTK, QUICK, code, filled_in, notebook, text

_, ROWS, BLOCKS, MATRIX, PREDICTION, DESCEND, ERROR = (
    f"def {part}".strip() for part in QUICK.split("\ndef ")
)
HELPERS = f"{ROWS}\n\n{DESCEND}"
QUICK_CELLS = {
    "rows": HELPERS,
    "ntk-blocks": BLOCKS,
    "ntk-matrix": MATRIX,
    "linear-prediction": PREDICTION,
    "linearization-error": ERROR,
}
HONEST: dict[str, bytes] = {}


def style(name: str, *before: str, after: tuple[str, ...] = (), **functions: str) -> None:
    """A notebook in which some functions are written in another way, with cells before and after them."""
    cells = QUICK_CELLS | {name.replace("_", "-"): source for name, source in functions.items()}
    HONEST[name] = notebook(map(code, (*before, *cells.values(), *after)))


def whole(name: str, content: bytes) -> None:
    """A notebook that is written in another way as a whole."""
    HONEST[name] = content


def quick(**changed) -> bytes:
    """The quick solution, with changes to the notebook."""
    return notebook(map(code, QUICK_CELLS.values()), **changed)


# Every right attempt that the visible checks are tested with

_HELPERS = "\n".join(
    inspect.getsource(getattr(attempts, name)) for name in ("gradients", "jacobian", "taylor")
)
_HELPERS += "\n".join(inspect.getsource(getattr(attempts, name)) for name in ("_networks", "_gap"))
_HELPERS = f"import math\nTEST = kit.circle(60, offset=0.5)[0]\n{_HELPERS}"
for _cell, _functions in attempts.RIGHT.items():
    for _function in _functions:
        style(
            f"attempt {_function.__name__}",
            _HELPERS,
            after=(f"{inspect.getsource(_function)}\n{_cell.replace('-', '_')} = {_function.__name__}",),
        )

# What the functions return

style(
    "lists", ntk_matrix="def ntk_matrix(model, x):\n    return ntk_blocks(model, x, x)[:, :, 0, 0].tolist()"
)
style(
    "float32",
    ntk_matrix="""
def ntk_matrix(model, x):
    j = rows(model, x)[:, 0].float()
    return (j @ j.T).numpy()
""",
    ntk_blocks="""
def ntk_blocks(model, x1, x2):
    return np.einsum("iap,jbp->ijab", rows(model, x1).numpy().astype("f4"), rows(model, x2).numpy().astype("f4"))
""",
)
style(
    "a copy of the model in float32",
    "import copy",
    ntk_matrix="""
def ntk_matrix(model, x):
    j = rows(copy.deepcopy(model).float(), x.float())[:, 0]
    return j @ j.T
""",
)
style(
    "numbers of numpy, torch and Python",
    after=(
        "_error = linearization_error\ndef linearization_error(*a, **k): return np.float32(_error(*a, **k).item())",
    ),
)
style(
    "an array with one number",
    after=(
        "_error = linearization_error\ndef linearization_error(*a, **k): return np.array([[_error(*a, **k).item()]])",
    ),
)
style(
    "not contiguous",
    ntk_matrix="""
def ntk_matrix(model, x):
    big = torch.zeros(2 * len(x), 2 * len(x), dtype=torch.float64)
    big[::2, ::2] = ntk_blocks(model, x, x)[:, :, 0, 0]
    return big[::2, ::2].T
""",
)
style("with its graph", linear_prediction=PREDICTION.replace(".detach()", ""))

# How they are defined

style(
    "object",
    ntk_matrix="""
class Kernel:
    def __init__(self, jacobian):
        self.jacobian = jacobian
    def __call__(self, model, x):
        j = self.jacobian(model, x)[:, 0]
        return j @ j.T
ntk_matrix = Kernel(rows)
""",
)
style("lambda", ntk_matrix="ntk_matrix = lambda model, x: ntk_blocks(model, x, x)")
style(
    "decorated",
    "import functools, time",
    """
def timed(function):
    @functools.wraps(function)
    def wrapper(*arguments, **keywords):
        start = time.perf_counter()
        result = function(*arguments, **keywords)
        print(f"{function.__name__}: {time.perf_counter() - start:.3f} s")
        return result
    return wrapper
""",
    **{name.replace("-", "_"): f"@timed\n{QUICK_CELLS[name]}" for name in NTK.tasks if name in QUICK_CELLS},
)
style(
    "cached",
    "import functools",
    ntk_matrix="""
@functools.lru_cache(maxsize=None)
def ntk_matrix(model, x):
    return ntk_blocks(model, x, x)
""",
)
style(
    "type hints",
    "from __future__ import annotations\nfrom torch import Tensor, nn",
    ntk_matrix="""
def ntk_matrix(model: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = ntk_blocks(model, x, x)
    return result
""",
)
style(
    "other names of arguments",
    ntk_matrix="""
def ntk_matrix(f, inputs, /, verbose=False):
    return ntk_blocks(f, inputs, inputs)
""",
)
style(
    "unicode",
    ntk_matrix="""
def ntk_matrix(模型, ξ):
    \"\"\"Θ = J Jᵀ – ça marche 🎉\"\"\"
    Θ = ntk_blocks(模型, ξ, ξ)
    return Θ
""",
)
style(
    "conditional",
    ntk_matrix="""
if torch.cuda.is_available():
    device = "cuda"
else:
    device = "cpu"
try:
    from functorch.experimental import nothing
except ImportError:
    def ntk_matrix(model, x):
        return ntk_blocks(model.to(device), x.to(device), x.to(device)).cpu()
""",
)
style(
    "threads",
    "from concurrent.futures import ThreadPoolExecutor",
    ntk_matrix="""
def ntk_matrix(model, x):
    with ThreadPoolExecutor(2) as pool:
        j = torch.cat(list(pool.map(lambda i: rows(model, x[i:i + 1])[0], range(len(x)))))
    return j @ j.T
""",
)
style(
    "slow but right",
    ntk_matrix="""
import time
def ntk_matrix(model, x):
    end = time.process_time() + 1
    while time.process_time() < end:
        result = ntk_blocks(model, x, x)
    time.sleep(0.5)
    return result
""",
)

# What else stands in their cells

style(
    "magics",
    "%matplotlib inline\n%config InlineBackend.figure_format = 'retina'\nimport torch as th",
    "%load_ext autoreload\n%autoreload 2\nfrom torch import nn",
    "%%time\nimport math",
    "!ls -la\n%pwd\n%who",
    ntk_matrix=f"%%time\n{MATRIX}",
    linearization_error=f"{ERROR}\n%timeit -n1 -r1 linearization_error(8, 0)",
)
style(
    "packages installed",
    "%pip install -q torch numpy",
    "!pip install torch",
    "%env OMP_NUM_THREADS=4\n%precision 3",
)
style(
    "module written and imported",
    f"%%writefile helpers.py\nimport torch\n{HELPERS}",
    "from helpers import descend, rows",
    rows="",
)
style(
    "plots",
    "plt.style.use('ggplot')\nplt.rcParams['figure.dpi'] = 60",
    after=(
        """
fig, axes = plt.subplots(1, 2)
axes[0].imshow(ntk_matrix(kit.TwoLayerNet(9), kit.circle(5)[0])[:, :, 0, 0])
fig.savefig("kernel.png")
plt.show()
""",
        "plt.plot(range(3));",
    ),
)
style(
    "prints and warnings",
    ntk_matrix="""
import logging, sys, warnings
logging.basicConfig(level=logging.DEBUG)
def ntk_matrix(model, x):
    warnings.warn("harmless")
    logging.warning("harmless")
    print("model", model, x)
    print("x" * 10_000, file=sys.stderr)
    np.log(np.zeros(1))
    return ntk_blocks(model, x, x)
""",
)
style(
    "displayed",
    "from IPython.display import HTML, Latex, Markdown, clear_output, display",
    after=(
        "display(Markdown('**done**'), Latex('$x$'), HTML('<b>x</b>'))\nclear_output(wait=True)",
        "ntk_matrix, rows",
        "Out, In, _",
    ),
)
style(
    "scratch cells that fail",
    "undefined_name",
    "1 / 0",
    "assert False, 'to do'",
    after=("raise ValueError", "print('unclosed"),
)
style("await", "import asyncio\nawait asyncio.sleep(0)", after=("await asyncio.gather(asyncio.sleep(0))",))
style(
    "options and seeds",
    "np.set_printoptions(precision=2)\ntorch.set_printoptions(precision=2)",
    "np.random.seed(3)\ntorch.manual_seed(3)\nimport random\nrandom.seed(3)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_num_threads(2)",
)
style("stars", "from math import *\nfrom torch.nn import *")
style("colab", "from google.colab import drive\ndrive.mount('/content/drive')", "import os\nos.chdir('/tmp')")
style("debugger", "%pdb off\nimport pdb", "%xmode Verbose", after=("1 / 0", "%debug", "%tb"))
style("folder found as in the set-up", NTK.setup[0], NTK.setup[0] + "\nprint(kit.__file__)")

# How the notebook is stored

whole("the model solution", filled_in())
whole(
    "metadata deleted",
    notebook(
        {**cell, "metadata": {}}
        for cell in json.loads(filled_in(QUICK_CELLS | {"ntk-matrix": f"{HELPERS}\n\n{MATRIX}"}))["cells"]
    ),
)
whole("checks deleted", notebook(code(source, name) for name, source in samples.FUNCTIONS.items()))
whole("cells in another order", notebook(map(code, reversed(QUICK_CELLS.values()))))
whole("everything in one cell", notebook([code(QUICK)]))
whole("stubs kept, solved below", filled_in({}, after=QUICK))
whole("copies of locked cells", notebook(code(source, "check-ntk-matrix") for source in QUICK_CELLS.values()))
whole(
    "checks changed",
    filled_in(
        QUICK_CELLS | {"check-ntk-matrix": f"# {ROWS!r}\nassert True", "sweep": "widths = [8]"},
        before=HELPERS,
    ),
)
whole("source as one text", notebook({**code(""), "source": source} for source in QUICK_CELLS.values()))
whole(
    "line ends of Windows",
    notebook({**code(""), "source": s.replace("\n", "\r\n")} for s in QUICK_CELLS.values()),
)
whole("byte order mark", b"\xef\xbb\xbf" + quick())
for _minor in (0, 4):
    whole(f"nbformat 4.{_minor}", quick(nbformat_minor=_minor))
whole(
    "colab's metadata",
    quick(
        metadata={
            "colab": {"provenance": [], "gpuType": "T4"},
            "accelerator": "GPU",
            "kernelspec": {"name": "python3"},
        }
    ),
)
whole(
    "visual studio code's metadata",
    notebook(
        [
            code(source, vscode={"languageId": "python"}) | {"id": f"#W{i}sZmlsZQ=="}
            for i, source in enumerate(QUICK_CELLS.values())
        ],
        metadata={"language_info": {"name": "python", "version": "3.13.1"}, "orig_nbformat": 4},
    ),
)
whole("no metadata at all", notebook(map(code, QUICK_CELLS.values()), metadata={}))
whole(
    "outputs, notes and empty cells",
    notebook(
        [
            text("# My notes"),
            code(""),
            code("# nothing"),
            code("   \n"),
            {"cell_type": "raw", "metadata": {}, "source": "x"},
            *(
                code(source)
                | {
                    "execution_count": 3,
                    "outputs": [
                        {"output_type": "stream", "name": "stdout", "text": ["ok\n"] * 1000},
                        {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 10**6}},
                        {"output_type": "error", "ename": "E", "evalue": "\x1b[31m", "traceback": []},
                    ],
                }
                for source in QUICK_CELLS.values()
            ),
            text("An answer with ä, 你好 and $\\Theta$.", "answer")
            | {"attachments": {"a.png": {"image/png": "AAAA"}}},
        ]
    ),
)
whole("indented by an editor", notebook([code(textwrap.indent(QUICK, "    "))]))
