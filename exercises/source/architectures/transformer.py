"""Hidden checks of the problem "Tangent kernels of transformers: how wide is an attention layer?"."""

from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 90

MECHANISMS = ("softmax", "product")


def checks(rng):
    """Lengths, scales, scores and encodings that the visible checks do not have."""

    def drawn(left, right, size=1.0):
        features = size * rng.standard_normal((left + right, 6)) / 6**0.5
        whole = features @ features.T
        return whole[:left, left:], whole[:left, :left], whole[left:, left:]

    scales = "s enters squared in the scores; t squared in front; the scores come from each sequence alone."
    for left, right in ((3, 5), (4, 4), (6, 1)):
        kernel, own1, own2 = drawn(left, right, rng.uniform(0.7, 1.5))
        theta = rng.standard_normal((left, right))
        sizes = float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.5, 2))
        yield Check("attention-ntk", (kernel, theta, own1, own2, *sizes), advice=scales, repeat=2)
    kernel, own1, own2 = drawn(4, 3, 8.0)
    stable = "Exponentials of large scores overflow: subtract the largest of each row first."
    yield Check("attention-ntk", (kernel, kernel, own1, own2, 5.0, 1.0), advice=stable)

    for left, right in ((3, 4), (5, 2)):
        kernel, theta = rng.standard_normal((2, left, right))
        sizes = float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.5, 2))
        rule = "s enters to the fourth power; Theta takes the place of each factor K in turn."
        yield Check("product-ntk", (kernel, theta, *sizes), advice=rule, repeat=2)
    kernel = drawn(4, 5)[0]
    yield Check("product-ntk", (kernel, 0 * kernel, 1.0, 1.0), advice="Raw input: four groups.")

    for mechanism in MECHANISMS:
        for left, right, share in ((3, 5, rng.uniform(0.2, 0.8)), (4, 4, 0.0), (5, 2, rng.uniform(0.2, 0.8))):
            sequences = rng.standard_normal((left, 3)), rng.standard_normal((right, 3))
            shape = float(share), float(rng.uniform(0.6, 3))
            places = "The encoding is in K of all three pairs, and its vectors are not trained."
            yield Check("network-ntk", (*sequences, *shape, mechanism), advice=places, repeat=2)

    for (left, right), heads, units, channels in (((2, 3), 4, 3, 5), ((4, 4), 1, 7, 2), ((1, 3), 6, 1, 3)):
        sequences = rng.standard_normal((left, channels)), rng.standard_normal((right, channels))
        weights = rng.standard_normal((3, heads, units, channels))
        roots = "Divide by the root of c at queries, keys and values, and scores by the root of d."
        yield Check("head-kernel", (*sequences, *weights), advice=roots)


RUBRIC = {
    "answer-limit": (
        Criterion("scores become constants; covariance of the outputs given them", 1),
        Criterion("gradients with respect to W_O and W_V give K' each", 1),
        Criterion("W_Q: squared length of order 1/d; untied weights give vanishing scores", 1),
        Criterion("below: through the values Z Theta Z'; through the scores of order 1/c", 1),
    ),
    "answer-product": (
        Criterion("second moments of scores and values multiplied, at every d", 1),
        Criterion("scores stay random; heads make the covariance constant; no closed form for softmax", 1),
        Criterion("linear in each of four matrices, hence four times K'", 1),
        Criterion("below: query, key and value; mixed places vanish; the product rule", 1),
    ),
    "answer-variance": (
        Criterion("fourth moments of score and value, exact formula", 1),
        Criterion("2/h is left; a mixture of Gaussians, not a Gaussian; predictions judged", 1),
        Criterion("the budget: a formula or computed values, 2 to 4 units a head", 1),
    ),
    "answer-order": (
        Criterion("permutation of one sequence and reversal of both, through attention and mean", 1),
        Criterion("softmax adds content and position, the product multiplies them; a remedy", 1),
    ),
    "answer-drift": (
        Criterion("scores move by order h^(-1/2) whatever d is; one head learns features", 1),
        Criterion("bound h^(-1/2), and the sign symmetry of the readout for the power -1", 1),
        Criterion("1/d: the gradients of scores vanish, so one head becomes lazy", 1),
    ),
    "answer-report": (
        Criterion("question and a prediction that can fail, written down before the runs", 1),
        Criterion("design: factors, levels, new seeds, measure", 1),
        Criterion("one table or figure with error bars over seeds, made by the cells", 1),
        Criterion("verdict on the prediction by its own criterion, a refutation said plainly", 1),
        Criterion("a doubt, and a check of it that was carried out", 1),
        Criterion("limits of the study and a next step that follows", 1),
    ),
}
