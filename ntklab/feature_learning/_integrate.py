"""An adaptive Runge-Kutta method for clouds of particles, whose velocities may jump."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

State = list[Tensor]
MOST_STEPS = 10_000
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0


def integrate(
    speed: Callable[[State], State],
    start: State,
    times: list[float],
    tolerance: float,
    size: Callable[[State], float],
) -> list[State]:
    """The states at increasing times from 0 on, of d state / dt = speed(state).

    size: the norm of a state.  Steps keep the estimated error, a norm of a difference, below
        tolerance * (1 + norm of the state).  A mean over particles lets few of them jump.

    Raises:
        ValueError: more than ``MOST_STEPS`` steps are needed, or the state overflows.

    Source: Bogacki & Shampine, "A 3(2) pair of Runge-Kutta formulas" (1989).
    """
    state, now, k1 = start, 0.0, speed(start)
    step = times[-1] if size(k1) == 0 else min(times[-1], 0.01 * (1 + size(start)) / size(k1))
    states, taken = [], 0
    for time in times:
        while now < time:
            taken += 1
            h = min(step, time - now)
            k2 = speed(_sum(state, (h / 2, k1)))
            k3 = speed(_sum(state, (3 * h / 4, k2)))
            ahead = _sum(state, (2 * h / 9, k1), (h / 3, k2), (4 * h / 9, k3))
            k4 = speed(ahead)
            zero = [p - p for p in state]
            error = _sum(zero, (-5 * h / 72, k1), (h / 12, k2), (h / 9, k3), (-h / 8, k4))
            ratio = size(error) / (tolerance * (1 + size(state)))
            if not ratio < float("inf") or taken > MOST_STEPS:
                raise ValueError(
                    f"the flow cannot be followed beyond t = {now:.3g} with tolerance {tolerance:g}: "
                    "take a larger tolerance, as an activation with a kink needs, or smaller inputs"
                )
            factor = _GROW if ratio == 0 else min(_GROW, max(_SHRINK, _SAFETY * ratio ** (-1 / 3)))
            if ratio <= 1:
                now = time if h == time - now else now + h
                state, k1 = ahead, k4
                step = max(step, h * factor) if h < step else h * factor
            else:
                step = h * factor
        states.append(state)
    return states


def _sum(state: State, *terms: tuple[float, State]) -> State:
    """state + sum of factor * change."""
    out = state
    for factor, change in terms:
        out = [p.add(v, alpha=factor) for p, v in zip(out, change, strict=True)]
    return out
