"""Feature learning: what moves in training, and which scaling decides whether it does."""

from ntklab.feature_learning.measures import (
    alignment,
    feature_movement,
    hidden_features,
    kernel_drift,
    linearization_distance,
    target_alignment,
)

__all__ = [
    "alignment",
    "feature_movement",
    "hidden_features",
    "kernel_drift",
    "linearization_distance",
    "target_alignment",
]
