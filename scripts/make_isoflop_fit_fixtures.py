"""Makes tests/fixtures/isoflop-fit: a synthetic study, and what NumPy and SciPy fit to it.

    pip install numpy==2.4.6 scipy==1.17.1
    python scripts/make_isoflop_fit_fixtures.py tests/fixtures/isoflop-fit

The study has the sizes of a grid, FLOPs a token that are no multiple of the parameters, noise, and one outlier. Parabolas
and power laws are numpy.polyfit; the surface is scipy.optimize.minimize from the 4,500 starts of Hoffmann et al. 2022,
200 iterations each, and then to the end from the best of them. Nothing of Timbre is used.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy.optimize import minimize

DELTA = 1e-3
BUDGETS = [3e17, 1e18, 3e18, 1e19, 3e19, 3e20]
WIDTHS = range(256, 2049, 128)
VOCAB, SEQ_LEN = 32_768, 2_048
KINDS = {"text": (0.9, 300.0, 1500.0, 0.34, 0.36), "semantic": (2.2, 900.0, 900.0, 0.38, 0.33), "acoustic_1": (3.1, 90.0, 150.0, 0.27, 0.26)}
SHARES = {"text": 0.2, "semantic": 0.3, "acoustic_1": 0.5}


def sizes(width):
    """Parameters with both embeddings, and forward FLOPs a token, of which one embedding is looked up."""
    layers = round(width / (64 + 4 * np.log2(width) - 7))
    params = layers * 16 * width**2 + 2 * VOCAB * width
    flops = 2 * (layers * 16 * width**2 + VOCAB * width) + layers * 4 * SEQ_LEN * width
    return layers, params, flops


def study():
    rng = np.random.default_rng(7)
    rows = []
    for budget in BUDGETS:
        for width in WIDTHS:
            layers, params, flops = sizes(width)
            tokens = round(budget / flops)
            # models that see so few or so many tokens are not run
            if not 2 < tokens / params < 250:
                continue
            kinds = {
                kind: (e + a / params**alpha + b / tokens**beta) * np.exp(rng.normal(0, 1e-3))
                for kind, (e, a, b, alpha, beta) in KINDS.items()
            }
            loss = sum(SHARES[kind] * value for kind, value in kinds.items())
            rows.append([f"{budget:.0e}-h{width}".replace("+", ""), budget, width, layers, params, tokens, loss, *kinds.values()])
    rows[17][6] *= 1.01  # an outlier
    return rows


def profiles(rows, column):
    """numpy.polyfit of the loss against ln N, and the minimum."""
    found = []
    for budget in BUDGETS:
        points = np.array([[row[4], row[5], row[column]] for row in rows if row[1] == budget])
        x = np.log(points[:, 0])
        quadratic, linear, constant = np.polyfit(x - x.mean(), points[:, 2], 2)
        size = x.mean() - linear / (2 * quadratic)
        inside = bool(quadratic > 0 and x.min() <= size <= x.max())
        found.append({
            "budget": budget,
            "inside": inside,
            "params": np.exp(size),
            "tokens": np.exp(np.interp(size, x, np.log(points[:, 1]))) if inside else None,
            "loss": constant - linear**2 / (4 * quadratic),
        })
    return found


def laws(found):
    used = [profile for profile in found if profile["inside"]]
    log_budget = np.log([profile["budget"] for profile in used])
    result = {}
    for quantity in ["params", "tokens"]:
        slope, intercept = np.polyfit(log_budget, np.log([profile[quantity] for profile in used]), 1)
        result[quantity] = {"exponent": slope, "coefficient": np.exp(intercept)}
    return result


def surface(rows):
    n, d, loss = (np.log([row[i] for row in rows]) for i in (4, 5, 6))

    def objective(x):
        """The sum of Huber losses over delta, and its gradient."""
        a, b, e, alpha, beta = x
        terms = np.stack([a - alpha * n, b - beta * d, np.full_like(n, e)])
        total = scipy.special.logsumexp(terms, axis=0)
        residual = total - loss
        value = scipy.special.huber(DELTA, residual).sum() / DELTA
        weights = np.exp(terms - total) * np.clip(residual / DELTA, -1, 1)
        gradient = [weights[0].sum(), weights[1].sum(), weights[2].sum(), -(n * weights[0]).sum(), -(d * weights[1]).sum()]
        return value, np.array(gradient)

    def descend(start, iterations):
        options = {"maxiter": iterations, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 20}
        return minimize(objective, start, jac=True, method="L-BFGS-B", options=options)

    log_a = log_b = np.arange(0, 30, 5)
    log_e, exponents = np.arange(-1, 1.5, 0.5), np.arange(0, 2.5, 0.5)
    starts = itertools.product(log_a, log_b, log_e, exponents, exponents)
    ends = sorted((descend(start, 200) for start in starts), key=lambda end: end.fun)
    best = min((descend(end.x, 5000) for end in ends[:20]), key=lambda end: end.fun)
    for _ in range(5):
        polish = {"xatol": 1e-12, "fatol": 1e-15, "maxiter": 50_000, "maxfev": 50_000, "adaptive": True}
        end = minimize(lambda x: objective(x)[0], best.x, method="Nelder-Mead", options=polish)
        best = min(best, end, key=lambda end: end.fun)
    a, b, e, alpha, beta = best.x
    slope, intercept = np.polyfit(n, np.log([row[1] for row in rows]) - d, 1)
    return {
        "objective": best.fun * DELTA,
        "e": np.exp(e),
        "a": np.exp(a),
        "b": np.exp(b),
        "alpha": alpha,
        "beta": beta,
        "token_cost": {"coefficient": np.exp(intercept), "exponent": slope},
    }


out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
rows = study()
with (out / "runs.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", "budget", "hidden", "layers", "params", "tokens", "loss", *(f"loss_{kind}" for kind in KINDS)])
    for row in rows:
        writer.writerow([row[0], f"{row[1]:.0e}".replace("+", ""), *row[2:6], *(f"{value:.6f}" for value in row[6:])])
rows = [[*row[:6], *(round(value, 6) for value in row[6:])] for row in rows]
everything = profiles(rows, 6)
expected = {
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
    "profiles": everything,
    "laws": laws(everything),
    "kinds": {kind.replace("_", "-"): laws(profiles(rows, 7 + i)) for i, kind in enumerate(KINDS)},
    "parametric": surface(rows),
}
(out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
print(len(rows), "runs;", json.dumps(expected["parametric"]))
