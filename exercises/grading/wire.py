"""What travels between the trusted process and the sandbox: calls one way, plain numbers the other, as JSON.

The trusted process sends ``encode_call(check, function)``; the sandbox answers with ``answer(call, namespace)``,
which the trusted process reads with ``decode_answer``.  The answer is hostile until ``decode_answer`` has taken
it apart: only lists of numbers with their shapes come through, never objects.
"""

from __future__ import annotations

import builtins
import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exercises import kit

LARGEST = 200_000  # numbers in one answer
DEPTH = 4  # of lists of arrays
_DTYPES = {"float32", "float64", "int64", "bool"}
_ERRORS = tuple(
    kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)
)


class Malformed(ValueError):
    """An answer from the sandbox that is not one of the forms that ``encode_answer`` gives."""


def encode_call(function: str, arguments=(), keywords: Mapping | None = None, repeat: int = 1) -> dict:
    """A call of a learner's function as JSON; ``repeat`` times on the same objects, of which the last counts."""
    return {
        "function": function,
        "arguments": [encode(value) for value in arguments],
        "keywords": {name: encode(value) for name, value in (keywords or {}).items()},
        "repeat": repeat,
    }


def encode(value) -> dict:
    """One argument as JSON: numbers, text, None, arrays, tensors, lists, tuples, dicts, kit's models and activations.

    Raises:
        TypeError: anything else.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    if isinstance(value, Tensor):
        return {"tensor": _array(value.detach().cpu().numpy())}
    if isinstance(value, (np.ndarray, np.generic)):
        return {"array": _array(np.asarray(value))}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if type(value).__name__ in kit.MODELS:
        frozen = [name for name, p in value.named_parameters() if not p.requires_grad]
        weights = [[name, _array(tensor.cpu().numpy())] for name, tensor in value.state_dict().items()]
        arguments = {name: encode(item) for name, item in value.arguments.items()}
        return {"model": [type(value).__name__, arguments, weights, frozen]}
    for name, function in kit.ACTIVATIONS.items():
        if value is function:
            return {"activation": name}
    raise TypeError(f"arguments: expected numbers, arrays, kit models or kit activations, got {value!r}")


def _array(value: np.ndarray) -> dict:
    if value.dtype.name not in _DTYPES:
        raise TypeError(f"arguments: expected a dtype of {sorted(_DTYPES)}, got {value.dtype}")
    return {"dtype": value.dtype.name, "shape": list(value.shape), "data": value.flatten().tolist()}


def decode(item: dict) -> Any:
    """The argument that ``encode`` took apart; fresh objects at every call."""
    ((kind, content),) = item.items()
    match kind:
        case "plain":
            return content
        case "array":
            return _numpy(content)
        case "tensor":
            return torch.from_numpy(_numpy(content))
        case "list" | "tuple":
            items = [decode(entry) for entry in content]
            return items if kind == "list" else tuple(items)
        case "dict":
            return {decode(key): decode(entry) for key, entry in content}
        case "activation":
            return kit.ACTIVATIONS[content]
        case "model":
            return _model(*content)
    raise ValueError(f"unknown kind of argument {kind!r}")


def _numpy(content: dict) -> np.ndarray:
    return np.array(content["data"], dtype=content["dtype"]).reshape(content["shape"])


def _model(name: str, arguments: dict, weights: list, frozen: list[str]) -> nn.Module:
    model = kit.MODELS[name](**{key: decode(value) for key, value in arguments.items()})
    model.load_state_dict({key: torch.from_numpy(_numpy(value)) for key, value in weights})
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key not in frozen)
    return model


def answer(call: dict, namespace: Mapping) -> dict:
    """Make a call in the learner's namespace.

    Returns ``{"value": encoded answer}``, ``{"undefined": True}`` when there is no such function, or
    ``{"error": name}`` with the name of a builtin exception, so that no message of the learner's gets out.
    """
    function = namespace.get(call["function"])
    if not callable(function):
        return {"undefined": True}
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the learner's own draws are the same in every run
    try:
        with torch.inference_mode(False), torch.enable_grad():  # a cell may have left gradients off
            arguments = [decode(item) for item in call["arguments"]]
            keywords = {name: decode(item) for name, item in call["keywords"].items()}
            for _ in range(call["repeat"]):
                value = function(*arguments, **keywords)
            return {"value": encode_answer(value)}
    except BaseException as error:
        return {"error": next(kind.__name__ for kind in inspect.getmro(type(error)) if kind in _ERRORS)}


def encode_answer(value, depth: int = 0) -> dict:
    """What a learner's function returned, as JSON of plain numbers."""
    if value is None:
        return {"none": True}
    value = value if depth else _detached(value, DEPTH)
    if isinstance(value, (list, tuple)) and depth < DEPTH and not _numbers(value):
        return {"list": [encode_answer(item, depth + 1) for item in value]}
    if isinstance(value, Tensor):
        value = (value.to_dense() if value.is_sparse else value).detach().cpu().resolve_conj().resolve_neg()
        value = value.float() if value.dtype == torch.bfloat16 else value
        value = value.numpy()
    try:
        array = _real(np.asarray(value))
        if array is None:
            return {"text": "not numbers"}
    except (TypeError, ValueError):
        return {"text": "not numbers"}
    if array.size > LARGEST:
        return {"text": "too large"}
    data = [number if math.isfinite(number) else None for number in array.flatten().tolist()]
    return {"array": {"shape": list(array.shape), "data": data}}


def _detached(value, depth: int):
    """The same with tensors that carry no gradient: numpy takes no others, alone or in lists."""
    if isinstance(value, (list, tuple)) and depth:
        return [_detached(item, depth - 1) for item in value]
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _numbers(value) -> bool:
    """Whether a list is an array written out, so that it need not travel as a list of arrays."""
    try:
        return _real(np.asarray(value)) is not None
    except (TypeError, ValueError, RuntimeError):
        return False


def _real(array: np.ndarray) -> np.ndarray | None:
    """The float64 array; None for what is not numbers.  Eigenvalue routines give complex ones that are real.

    Raises:
        TypeError, ValueError: objects that are not numbers.
    """
    if array.dtype.kind == "O" and all(isinstance(item, numbers.Number) for item in array.flat):
        array = np.array(array.tolist())
    if array.dtype.kind == "c" and np.abs(array.imag).max(initial=0) <= 1e-6 * np.abs(array).max(initial=0):
        array = array.real
    return array.astype(np.float64) if array.dtype.kind in "bifu" else None


def decode_answer(item, depth: int = 0):
    """The arrays in an answer: a float64 array, a list of them, None, or text that says what else it was.

    Raises:
        Malformed: for anything that ``encode_answer`` cannot have written.
    """
    if not isinstance(item, dict) or len(item) != 1 or depth > DEPTH + 1:
        raise Malformed("an answer is an object with one key")
    ((kind, content),) = item.items()
    if kind == "none" and content is True:
        return None
    if kind == "text" and content in ("not numbers", "too large"):
        return content
    if kind == "list" and isinstance(content, list):
        return [decode_answer(entry, depth + 1) for entry in content]
    if kind == "array" and isinstance(content, dict) and content.keys() == {"shape", "data"}:
        return _decode_array(content["shape"], content["data"])
    raise Malformed(f"unknown kind of answer {str(kind)[:40]!r}")


def _decode_array(shape, data) -> np.ndarray:
    if not isinstance(shape, list) or not isinstance(data, list) or len(shape) > 16 or len(data) > LARGEST:
        raise Malformed("shape and data are lists")
    if any(type(size) is not int or not 0 <= size <= LARGEST for size in shape) or math.prod(shape) != len(
        data
    ):
        raise Malformed("shape and data do not fit")
    if any(type(number) not in (int, float, type(None)) for number in data):
        raise Malformed("data are numbers")
    try:
        values = [math.nan if number is None else float(number) for number in data]
    except OverflowError:
        raise Malformed("a number is too large") from None
    try:
        return np.array(values, dtype=np.float64).reshape(shape)
    except ValueError:
        raise Malformed("shape and data do not fit") from None
