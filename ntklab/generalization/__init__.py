"""Generalisation: filters of the spectrum, bounds, learning curves, and estimators for scikit-learn."""

from ntklab.generalization.bounds import (
    AroraBound,
    GapBound,
    RKHSBound,
    arora_bound,
    operator_bound,
    rkhs_bound,
    trace_bound,
)
from ntklab.generalization.filters import (
    Fit,
    descent_filter,
    equivalent_ridge,
    fit,
    flow_filter,
    ridge_filter,
    rkhs_norm,
)
from ntklab.generalization.learning_curve import (
    LearningCurve,
    Pool,
    effective_regularization,
    from_data,
    kare,
    learnabilities,
    learning_curve,
)
from ntklab.generalization.ridge import LeaveOneOut, kernel_ridge, leave_one_out

__all__ = [
    "AroraBound",
    "Fit",
    "GapBound",
    "LearningCurve",
    "LeaveOneOut",
    "Pool",
    "RKHSBound",
    "arora_bound",
    "descent_filter",
    "effective_regularization",
    "equivalent_ridge",
    "fit",
    "flow_filter",
    "from_data",
    "kare",
    "kernel_ridge",
    "learnabilities",
    "learning_curve",
    "leave_one_out",
    "operator_bound",
    "ridge_filter",
    "rkhs_bound",
    "rkhs_norm",
    "trace_bound",
]


def __getattr__(name: str):
    """NTKRegressor and NTKClassifier, when asked for: they need scikit-learn, the rest of ntklab does not."""
    if name not in ("NTKClassifier", "NTKRegressor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ntklab.generalization import estimators
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs scikit-learn: pip install 'ntklab[sklearn]'") from error
    return getattr(estimators, name)
