"""Infinitely wide networks as scikit-learn estimators."""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ntklab._validate import choice, real
from ntklab.generalization.ridge import best_ridge, flow_rate, one_time, resolvent, ridge_list
from ntklab.layers import Dense, ReLU, Sequential

#: What ridge="loo" tries, times the mean of the kernel's diagonal.
LOO_GRID = 10.0 ** np.arange(-5, 3)
_BLOCK_ELEMENTS = 2**23  # of a kernel between new and training inputs


def default_architecture() -> Sequential:
    """Three hidden ReLU layers with biases: sigma_w^2 = 2 inside and 1 in the readout, sigma_b = 1/2.

    For |x|^2 = d the outputs have prior variance 1.625 and the NTK is 5.375 on the diagonal.
    """
    return Sequential(*[Dense(2**0.5, 0.5), ReLU()] * 3, Dense(1.0, 0.5))


class _InfiniteNetwork(BaseEstimator):
    """What the two estimators share: the scale of inputs, the kernel, its solution, and the networks' spread."""

    def _fit(self, X: np.ndarray, y: np.ndarray, *, centre: bool) -> None:
        """Solve for targets y, (n,) or (n, k)."""
        ridges = self._check_parameters()
        self._measure_inputs(X)
        self.X_fit_ = self._scaled(X)
        matrix = self._kernel(self.X_fit_)
        if np.ndim(ridges) == 0 and ridges != "loo":
            self.ridge_, self.dual_coef_ = ridges, self._resolvent(matrix, ridges)(y)
            return
        if isinstance(ridges, str):
            ridges = LOO_GRID * (matrix.diagonal().mean() or 1.0)
        found = best_ridge(matrix, y, ridges, centre=centre)
        self.ridges_, self.loo_errors_ = found.ridges, found.errors
        self.ridge_, self.dual_coef_ = found.ridge, found.dual

    def _check_parameters(self):
        """The ridge: a number, an array of them, or "loo"."""
        kernel = None if isinstance(self.arch, type) else getattr(self.arch, "kernel", None)
        if self.arch is not None and not callable(kernel):
            raise TypeError(f"arch must be an architecture with a method kernel, or None, got {self.arch!r}")
        for name in ("rescale", "normalize_y"):
            value = getattr(self, name, True)
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False, got {value!r}")
        choice("kernel", self.kernel, ("ntk", "nngp"))
        for name in ("ridges_", "loo_errors_"):
            self.__dict__.pop(name, None)
        t = one_time(self.t)
        flow_rate(self.learning_rate, self.loss, 1)
        if isinstance(self.ridge, str):
            ridge = choice("ridge", self.ridge, ("loo",))
        elif np.ndim(self.ridge) == 0:
            ridge = real("ridge", self.ridge, minimum=0.0)
        else:
            ridge = ridge_list(self.ridge)
        if math.isfinite(t) and np.ndim(ridge) + isinstance(ridge, str):
            raise ValueError(f"ridge must be a number where t is finite, got ridge={self.ridge!r}, t={t:g}")
        if math.isfinite(t) and self.kernel == "nngp":
            raise ValueError(
                f'kernel must be "ntk" where t is finite, got "nngp" (Bayes has no time) and t={t:g}'
            )
        return ridge

    def _measure_inputs(self, X: np.ndarray) -> None:
        """The mean input (d,), and the root mean square of the entries about it."""
        self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), 1.0
        if not self.rescale:
            return
        self.input_mean_, spreads = _moments(X)
        largest = spreads.max()
        if largest > 0:
            self.input_scale_ = float(np.sqrt(np.square(spreads / largest).mean()) * largest)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return _shifted("X", X, self.input_mean_, self.input_scale_) if self.rescale else X

    def _kernel(self, x1, x2=None) -> np.ndarray:
        return np.ascontiguousarray(getattr(self._architecture().kernel(x1, x2), self.kernel))

    def _architecture(self):
        return default_architecture() if self.arch is None else self.arch

    def _resolvent(self, matrix: np.ndarray, ridge: float):
        rate = flow_rate(self.learning_rate, self.loss, len(matrix))
        return resolvent(matrix, ridge, t=one_time(self.t), rate=rate)

    def _new_inputs(self, X) -> np.ndarray:
        check_is_fitted(self)
        return self._scaled(validate_data(self, X, dtype=np.float64, reset=False))

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        """Mean outputs at scaled inputs x (m, d): (m,) or (m, k)."""
        return np.concatenate([self._kernel(part, self.X_fit_) @ self.dual_coef_ for part in self._parts(x)])

    def _std(self, x: np.ndarray) -> np.ndarray:
        """Standard deviation (m,) of an output at scaled inputs x (m, d)."""
        arch = self._architecture()
        own = arch.kernel(self.X_fit_)
        nngp = own.nngp if self.kernel == "ntk" else None
        solve = self._resolvent(np.ascontiguousarray(getattr(own, self.kernel)), self.ridge_)
        del own
        variances = []
        for part in self._parts(x):
            prior, cross = arch.diagonal(part).nngp, arch.kernel(part, self.X_fit_)
            smoother = solve(np.ascontiguousarray(getattr(cross, self.kernel).T)).T
            variance = prior - np.einsum("ij,ij->i", smoother, cross.nngp)
            if nngp is not None:
                variance += np.einsum("ij,ij->i", smoother @ nngp - cross.nngp, smoother)
            variances.append(variance)
        return np.sqrt(np.concatenate(variances).clip(min=0.0))

    def _parts(self, x: np.ndarray) -> list[np.ndarray]:
        """Rows of x in blocks whose kernel with the training set stays small."""
        rows = max(1, _BLOCK_ELEMENTS // len(self.X_fit_))
        return [x[start : start + rows] for start in range(0, len(x), rows)]


class NTKRegressor(MultiOutputMixin, RegressorMixin, _InfiniteNetwork):
    """Least-squares regression by infinitely many infinitely wide networks, solved exactly.

    The prediction is the mean over initialisations of networks trained by gradient flow,

        f(x) = k(x, X) (K + ridge I)^{-1} (I - exp(-eta c (K + ridge I) t)) y

    (Jacot, Gabriel & Hongler 2018; Lee et al. 2019, eqs. 8-9 without a ridge; Hu, Li & Yu 2020 with it).
    Fitting takes one Cholesky factorisation for all outputs, n^3/3 multiplications; memory is two (n, n)
    arrays in float64, in which everything is computed: 1.6 GB for n = 10,000.

    Args:
        arch: an architecture such as ``nl.Sequential(...)``; None is ``default_architecture()``, three hidden ReLU
            layers with biases.
        kernel: "ntk" trains all layers; "nngp" is the Bayesian network, a Gaussian process whose noise has
            the variance ``ridge``.
        ridge: at least 0 and not divided by n, to be compared with the kernel's diagonal (5.375 for the default
            architecture).  A sequence is chosen from by the leave-one-out error in closed form, about n^3
            multiplications each; "loo" tries 10^-5 ... 10^2 times the mean of the kernel's diagonal.
        t: training time: a number for early stopping (needs the spectrum, about 20 times the work), or inf.
        learning_rate, loss: eta, and c = 1/n for "mean" or 1 for "sum"; they matter for finite t.
        rescale: subtract the mean training input and divide by one number, so that |x|^2 = d on average over
            the training set.  Features of different units want a StandardScaler before it.
        normalize_y: train on targets with mean 0 and variance 1 for each output.  Without it predictions
            far from the data are small in absolute terms, and the standard deviation is in units of the
            architecture's outputs.

    Attributes:
        dual_coef_: (n,) or (n, k), for the normalised targets.
        ridge_: in use.
        ridges_, loo_errors_: (R,), where leave-one-out chose: squared errors of the normalised targets (1 is
            the mean's), inf where K + ridge I is singular.  The inputs' scale is kept, the targets' mean is not.
        X_fit_: (n, d), scaled; input_mean_ (d,), input_scale_.
        y_mean_, y_scale_: numbers, or (k,).
        n_features_in_, feature_names_in_.
    """

    def __init__(
        self,
        arch=None,
        *,
        kernel="ntk",
        ridge=0.01,
        t=math.inf,
        learning_rate=1.0,
        loss="mean",
        rescale=True,
        normalize_y=True,
    ):
        self.arch = arch
        self.kernel = kernel
        self.ridge = ridge
        self.t = t
        self.learning_rate = learning_rate
        self.loss = loss
        self.rescale = rescale
        self.normalize_y = normalize_y

    def fit(self, X, y):
        """Solve for inputs (n, d) and targets (n,) or (n, k).

        Raises:
            ValueError, TypeError: what scikit-learn refuses, a parameter out of range, a kernel out of range,
                a ridge that is too small for leave-one-out.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        self.y_mean_, self.y_scale_ = np.zeros(y.shape[1:]), np.ones(y.shape[1:])
        if self.normalize_y:
            self.y_mean_, spread = _moments(y)
            self.y_scale_ = np.where(spread > 0, spread, 1.0)
        self._fit(X, _shifted("y", y, self.y_mean_, self.y_scale_), centre=bool(self.normalize_y))
        return self

    def predict(self, X, return_std=False):
        """Mean outputs at inputs (m, d), (m,) or (m, k); with ``return_std`` also standard deviations, alike.

        For the NTK it is the standard deviation over initialisations of the trained network, at time t and with the
        ridge as a penalty on the distance from the initial parameters (``nl.ensemble`` where ridge = 0): with A
        the map from y to f(x), the variance is K(x, x) - 2 A K(X, x) + A K(X, X) A', K the NNGP kernel
        (Lee et al. 2019, eq. 15).  It holds no noise.  For the NNGP kernel it is the posterior's,
        K(x, x) - K(x, X) (K + ridge I)^{-1} K(X, x), ``nl.gp_posterior`` with noise = ridge.
        It costs as much as a fit, because the factor is not kept.
        """
        x = self._new_inputs(X)
        mean = self.y_mean_ + self.y_scale_ * self._outputs(x)
        return (mean, np.multiply.outer(self._std(x), self.y_scale_)) if return_std else mean


class NTKClassifier(ClassifierMixin, _InfiniteNetwork):
    """Classification by infinitely wide networks trained on the squared loss, one output a class.

    Targets are centred one-hot rows, 1 - 1/k in the column of the class and -1/k in the others; for two
    classes one output with targets -1 and 1.  One Cholesky factorisation serves all classes.  There is no
    ``predict_proba``: least-squares outputs are not probabilities (``CalibratedClassifierCV`` makes some).

    Args:
        arch, kernel, ridge, t, learning_rate, loss, rescale: as in ``NTKRegressor``; leave-one-out compares squared
            errors of the targets.

    Attributes:
        classes_: (k,), sorted labels.
        dual_coef_: (n, k), or (n,) for two classes.
        ridge_, ridges_, loo_errors_, X_fit_, input_mean_, input_scale_: as in ``NTKRegressor``.
    """

    def __init__(
        self,
        arch=None,
        *,
        kernel="ntk",
        ridge=0.01,
        t=math.inf,
        learning_rate=1.0,
        loss="mean",
        rescale=True,
    ):
        self.arch = arch
        self.kernel = kernel
        self.ridge = ridge
        self.t = t
        self.learning_rate = learning_rate
        self.loss = loss
        self.rescale = rescale

    def fit(self, X, y):
        """Solve for inputs (n, d) and labels (n,) of at least two classes.

        Raises:
            ValueError, TypeError: as in ``NTKRegressor``, and labels of one class only.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        k = len(self.classes_)
        if k < 2:
            raise ValueError(
                f"y must hold at least 2 classes, got one class only: {self.classes_.tolist()[0]!r}"
            )
        targets = 2.0 * labels - 1 if k == 2 else (labels[:, None] == np.arange(k)) - 1 / k
        self._fit(X, targets, centre=False)
        return self

    def decision_function(self, X, return_std=False):
        """Outputs at inputs (m, d): (m, k), or (m,) for two classes, where above 0 means ``classes_[1]``.

        With ``return_std`` also the standard deviation (m,) of an output, as in ``NTKRegressor.predict``.
        """
        x = self._new_inputs(X)
        return (self._outputs(x), self._std(x)) if return_std else self._outputs(x)

    def predict(self, X):
        """Labels (m,) of the largest output."""
        outputs = self.decision_function(X)
        return self.classes_[(outputs > 0).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=1)]


def _moments(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, safe for squares that leave float64; 0 where all are equal."""
    largest = np.abs(a).max(axis=0)
    largest = np.where(largest > 0, largest, 1.0)
    mean = (a / largest).mean(axis=0)
    deviation = np.sqrt(np.square(a / largest - mean).mean(axis=0))
    deviation = np.where(deviation > 1e-14, deviation, 0.0)  # rounding of the mean
    return mean * largest, deviation * largest


def _shifted(name: str, a: np.ndarray, mean: np.ndarray, scale) -> np.ndarray:
    with np.errstate(over="ignore"):
        scaled = (a - mean) / scale
    if not np.isfinite(scaled).all():
        raise ValueError(
            f"{name} must stay finite when centred and scaled, got values up to {np.abs(a).max():g}"
        )
    return scaled
