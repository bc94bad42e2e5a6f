"""The same convolutional kernel by Neural Tangents, run by its own interpreter: peer_conv.py N SIZE LAYERS pool|flatten."""

import sys
import time


def main(n: int, size: int, layers: int, readout: str) -> None:
    """Print the best time in seconds and the mean entry of the NTK."""
    import jax
    import numpy as np
    from neural_tangents import stax

    body = [
        layer
        for _ in range(layers)
        for layer in (stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5), stax.Relu())
    ]
    end = stax.GlobalAvgPool() if readout == "pool" else stax.Flatten()
    _, _, kernel = stax.serial(*body, end, stax.Dense(1, W_std=1.0))
    kernel = jax.jit(kernel, static_argnums=(2,))
    x = np.random.default_rng(0).standard_normal((n, 3, size, size)).astype("float32").transpose(0, 2, 3, 1)
    times = []
    for _ in range(2):  # the first run compiles
        start = time.perf_counter()
        result = kernel(jax.numpy.asarray(x), None, ("nngp", "ntk"))
        result.ntk.block_until_ready()
        times.append(time.perf_counter() - start)
    print(times[-1], float(result.ntk.mean()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
