"""The same kernel by Neural Tangents, run by its own interpreter: peer.py N D HIDDEN DTYPE."""

import sys
import time


def main(n: int, d: int, hidden: int, dtype: str) -> None:
    """Print the best time in seconds and the mean entry of the NTK."""
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == "float64")
    from neural_tangents import stax

    layers = [
        layer for _ in range(hidden) for layer in (stax.Dense(1, W_std=2**0.5, b_std=None), stax.Relu())
    ]
    _, _, kernel = stax.serial(*layers, stax.Dense(1, W_std=1.0, b_std=None))
    kernel = jax.jit(kernel, static_argnums=(2,))
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((n, d)).astype(dtype))
    times = []
    for _ in range(4):
        start = time.perf_counter()
        result = kernel(x, None, ("nngp", "ntk"))
        result.ntk.block_until_ready()
        times.append(time.perf_counter() - start)
    print(min(times[1:]), float(result.ntk.mean()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
