"""Feature learning: what moves in training, and which scaling decides whether it does."""

from ntklab.feature_learning.abc import ABC, ABCNetwork
from ntklab.feature_learning.catapult import Catapult, catapult
from ntklab.feature_learning.chaos import Chaos, propagation_of_chaos
from ntklab.feature_learning.correction import (
    Fluctuation,
    VelocityLaw,
    kernel_velocity,
    log_kernel_fluctuation,
    velocity_law,
)
from ntklab.feature_learning.lazy import LazyScaled
from ntklab.feature_learning.mean_field import Population, Trajectory
from ntklab.feature_learning.measures import (
    alignment,
    feature_movement,
    hidden_features,
    kernel_drift,
    linearization_distance,
    target_alignment,
)
from ntklab.feature_learning.transfer import CoordinateCheck, RateSweep, coordinate_check, rate_sweep

__all__ = [
    "ABC",
    "ABCNetwork",
    "Catapult",
    "Chaos",
    "CoordinateCheck",
    "Fluctuation",
    "LazyScaled",
    "Population",
    "RateSweep",
    "Trajectory",
    "VelocityLaw",
    "alignment",
    "catapult",
    "coordinate_check",
    "feature_movement",
    "hidden_features",
    "kernel_drift",
    "kernel_velocity",
    "linearization_distance",
    "log_kernel_fluctuation",
    "propagation_of_chaos",
    "rate_sweep",
    "target_alignment",
    "velocity_law",
]
