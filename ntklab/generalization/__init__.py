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

__all__ = [
    "AroraBound",
    "Fit",
    "GapBound",
    "LearningCurve",
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
    "learnabilities",
    "learning_curve",
    "operator_bound",
    "ridge_filter",
    "rkhs_bound",
    "rkhs_norm",
    "trace_bound",
]
