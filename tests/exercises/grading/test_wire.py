"""What crosses the sandbox's wall: every argument arrives as it was sent, and only plain numbers come back."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exercises import kit
from exercises.grading import wire

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _travel(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value))))


def _answer(function, *arguments, **keywords):
    call = json.loads(json.dumps(wire.encode_call("f", arguments, keywords)))
    return json.loads(json.dumps(wire.answer(call, {"f": function}), allow_nan=False))


def _value(returned):
    return wire.decode_answer(_answer(lambda: returned)["value"])


@given(arrays.arrays(np.float64, SHAPES, elements=FLOATS))
def test_float64_arrays_and_tensors_arrive_bit_by_bit(array):
    assert _travel(array).tobytes() == array.tobytes()
    tensor = _travel(torch.from_numpy(array.copy()))
    assert tensor.dtype == torch.float64
    assert tensor.shape == array.shape
    assert tensor.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_other_dtypes_arrive_as_they_are(dtype):
    value = torch.tensor([[0, 1, 1]]).to(dtype)
    assert _travel(value).dtype == dtype
    assert torch.equal(_travel(value), value)


def test_numbers_text_and_nested_containers_arrive_as_they_are():
    value = {"a": [1, 2.5, None, True], 3: ("tanh", [np.inf])}
    assert _travel(value) == value
    assert isinstance(_travel(value)[3], tuple)


@pytest.mark.parametrize("name", kit.ACTIVATIONS)
def test_activations_arrive_as_the_kits_own_functions(name):
    assert _travel(kit.ACTIVATIONS[name]) is kit.ACTIVATIONS[name]


@pytest.mark.parametrize(
    "model",
    [
        kit.TwoLayerNet(width=5, inputs=3, outputs=2, activation=torch.sin, seed=7),
        kit.Wave(0.3, 1.7),
        kit.Perceptron((3, 6, 4, 2), torch.relu, last=True, seed=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_travel_as_weights_with_frozen_parameters_and_their_outputs_are_equal(model):
    with torch.no_grad():
        first = next(model.parameters())
        first += 0.25
    first.requires_grad_(False)
    arrived = _travel(model)
    x = torch.randn(4, 1 if isinstance(model, kit.Wave) else 3, dtype=torch.float64)
    assert torch.equal(arrived(x), model(x))
    assert [p.requires_grad for p in arrived.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize(
    "value", [object(), lambda x: x, torch.nn.Linear(2, 2), 1j, np.array([1j]), np.array(["a"])]
)
def test_what_cannot_travel_is_an_error_that_says_so(value):
    with pytest.raises(TypeError, match="arguments: expected"):
        wire.encode(value)


@given(arrays.arrays(np.float64, SHAPES, elements=st.floats()))
def test_answers_come_back_with_shape_and_numbers_and_without_infinities(array):
    back = _value(array)
    assert back.shape == array.shape
    finite = np.isfinite(array)
    np.testing.assert_array_equal(back[finite], array[finite])
    assert np.isnan(back[~finite]).all()


@pytest.mark.parametrize(
    "returned",
    [
        torch.tensor([[1.0, 2.0]], requires_grad=True),
        torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16),
        torch.tensor([[1.0, 2.0]], dtype=torch.float64).to_sparse(),
        np.array([[1, 2]]),
        [[1.0, 2.0]],
        np.array([[1.0, 2.0]]).view(np.matrix),
        [[np.float32(1), torch.tensor(2.0)]],
    ],
)
def test_torch_numpy_and_lists_come_back_as_one_array(returned):
    value = _value(returned)
    np.testing.assert_array_equal(np.array(value, dtype=float).squeeze(), [1, 2])


def test_tuples_of_arrays_come_back_as_lists_of_arrays():
    one, two = _value((torch.eye(2), np.ones(3)))
    np.testing.assert_array_equal(one, np.eye(2))
    np.testing.assert_array_equal(two, np.ones(3))


@pytest.mark.parametrize(
    "returned", ["text", object(), {"a": 1}, 1j, Decimal(1), kit.Wave(), len, np.array(["a"])]
)
def test_what_is_not_a_number_comes_back_as_such(returned):
    assert _value(returned) == "not numbers"


def test_nothing_and_too_much_come_back_as_such():
    assert _value(None) is None
    assert _value(np.zeros(wire.LARGEST + 1)) == "too large"


def test_a_list_that_contains_itself_comes_back_cut():
    loop = []
    loop.append(loop)
    assert _answer(lambda: loop).keys() <= {"value", "error"}


def test_errors_come_back_as_builtin_names_without_their_message():
    class Mine(ZeroDivisionError):
        pass

    def fail(secret):
        raise Mine(secret)

    assert _answer(fail, "a hidden input") == {"error": "ZeroDivisionError"}

    class TypeError(BaseException):
        """It only looks like the builtin one."""

    def fail_in_disguise():
        raise TypeError

    def quit_the_process():
        raise SystemExit(3)

    assert _answer(fail_in_disguise) == {"error": "BaseException"}
    assert _answer(quit_the_process) == {"error": "SystemExit"}


def test_a_missing_function_is_undefined():
    assert wire.answer(wire.encode_call("g"), {"f": len}) == {"undefined": True}
    assert wire.answer(wire.encode_call("g"), {"g": 3}) == {"undefined": True}


def test_repeated_calls_see_the_same_objects_and_the_last_result_counts():
    def add_one(x):
        x += 1
        return x

    answer = wire.answer(wire.encode_call("f", (np.zeros(2),), repeat=3), {"f": add_one})
    np.testing.assert_array_equal(wire.decode_answer(answer["value"]), [3, 3])


def test_two_calls_share_nothing():
    call = wire.encode_call("f", (torch.zeros(2),))
    for _ in range(2):
        answer = wire.answer(call, {"f": lambda x: x.add_(1)})
        np.testing.assert_array_equal(wire.decode_answer(answer["value"]), [1, 1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["array", "list", "none", "text", "shape", "data", "x"]), inner, max_size=2
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_numbers_or_malformed(item):
    try:
        value = wire.decode_answer(item)
    except wire.Malformed:
        return
    assert value is None or isinstance(value, (str, list, np.ndarray))


@pytest.mark.parametrize(
    "item",
    [
        {"array": {"shape": [2], "data": [1.0]}},
        {"array": {"shape": [-1], "data": []}},
        {"array": {"shape": [True], "data": [1.0]}},
        {"array": {"shape": [1.0], "data": [1.0]}},
        {"array": {"shape": [0, 10**12], "data": []}},
        {"array": {"shape": [1] * 40, "data": [1.0]}},
        {"array": {"shape": [1], "data": ["1"]}},
        {"array": {"shape": [1], "data": [True]}},
        {"array": {"shape": [1], "data": [10**400]}},
        {"array": {"shape": [1], "data": [1.0], "right": True}},
        {"array": {"shape": [], "data": [1.0]}, "none": True},
        {"text": "right"},
        {"score": 4},
        {"list": {"0": 1}},
        [],
        3,
    ],
)
def test_forged_answers_are_malformed(item):
    with pytest.raises(wire.Malformed):
        wire.decode_answer(item)


def test_deeply_nested_answers_are_malformed_and_not_a_crash():
    item = {"none": True}
    for _ in range(5000):
        item = {"list": [item]}
    with pytest.raises(wire.Malformed):
        wire.decode_answer(item)


def test_not_finite_numbers_are_written_as_null():
    answer = wire.encode_answer(np.array([1.0, math.inf, math.nan]))
    assert answer == {"array": {"shape": [3], "data": [1.0, None, None]}}


@pytest.mark.parametrize(
    "returned",
    [
        [[torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)]],
        np.array([[1.0, 2.0]], dtype=object),
        torch.linalg.eigvals(torch.diag(torch.tensor([1.0, 2.0]))),
        np.array([1 + 1e-12j, 2]),
    ],
    ids=[
        "tensors with gradients in lists",
        "objects that are numbers",
        "real eigenvalues",
        "rounding off the line",
    ],
)
def test_unusual_ways_to_write_real_numbers_come_back_as_numbers(returned):
    np.testing.assert_allclose(np.squeeze(_value(returned)), [1, 2])


def test_numbers_off_the_real_line_are_no_real_numbers():
    assert _value(np.array([1 + 0.1j, 2])) == "not numbers"


def test_gradients_work_whatever_a_cell_has_switched_off():
    def slope(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad((x**2).sum(), x)[0]

    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            answer = wire.answer(wire.encode_call("f", (torch.ones(2),)), {"f": slope})
        np.testing.assert_array_equal(wire.decode_answer(answer["value"]), [2, 2])


def test_a_shape_too_large_for_any_array_is_malformed():
    with pytest.raises(wire.Malformed):
        wire.decode_answer({"array": {"shape": [200_000] * 4 + [0], "data": []}})
