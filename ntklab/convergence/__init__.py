"""How fast a network with a constant kernel learns: spectra, decay of modes, stable rates."""

from ntklab.convergence.decay import Bound, decay, exponential_bound
from ntklab.convergence.eigensystem import Eigensystem, PowerLaw, eigensystem, power_law
from ntklab.convergence.random_matrix import LinearWidthSpectrum, linear_width_spectrum
from ntklab.convergence.sphere import SphereSpectrum, circle_spectrum, gegenbauer, sphere_spectrum
from ntklab.convergence.stable_rate import catapult_end, probe_stable_rate, stable_rate

__all__ = [
    "Bound",
    "Eigensystem",
    "LinearWidthSpectrum",
    "PowerLaw",
    "SphereSpectrum",
    "catapult_end",
    "circle_spectrum",
    "decay",
    "eigensystem",
    "exponential_bound",
    "gegenbauer",
    "linear_width_spectrum",
    "power_law",
    "probe_stable_rate",
    "sphere_spectrum",
    "stable_rate",
]
