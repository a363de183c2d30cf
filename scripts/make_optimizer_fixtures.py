"""Makes tests/fixtures/optimizer: learning rates, trajectories and averages of parameters by optax, and the steps that
a guard against spikes leaves out, by NumPy's mean and deviation.

    JAX_ENABLE_X64=1 python scripts/make_optimizer_fixtures.py        # needs jax, optax, numpy, safetensors

All is computed in double precision: learning rates are compared to the last bit, and a difference of a trajectory is then
our rounding alone. What single precision does to optax itself is printed at the end, and stands in trajectories.json.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import _muon
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "optimizer"
VERSIONS = dict(jax=jax.__version__, optax=optax.__version__, numpy=np.__version__)

# Steps of a run, learning rates looked at, and each kind of schedule with fractions of the steps that are not whole
# (of 238,419) and with numbers of steps.
RUN_STEPS, SAMPLES, PEAK = 238_419, 1000, 0.003 * 2**0.5
SCHEDULES = {
    "wsd": dict(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.0),
    "wsd-steps": dict(kind="wsd", warmup=2000.0, decay=50_001.0, min_lr_ratio=0.07),
    "wsd-no-warmup": dict(kind="wsd", warmup=0.0, decay=1.0, min_lr_ratio=0.1),
    "linear": dict(kind="linear", warmup=0.03, min_lr_ratio=0.1),
    "linear-steps": dict(kind="linear", warmup=777.0, min_lr_ratio=0.0),
    "cosine": dict(kind="cosine", warmup=0.03, min_lr_ratio=0.1),
    "cosine-steps": dict(kind="cosine", warmup=1234.0, min_lr_ratio=0.0),
    "constant": dict(kind="constant", warmup=0.013),
    "constant-steps": dict(kind="constant", warmup=101.0),
    "inverse-sqrt": dict(kind="inverse-sqrt", warmup=0.01, min_lr_ratio=0.3, timescale=10_000.0),
    "inverse-sqrt-steps": dict(kind="inverse-sqrt", warmup=20_000.0, min_lr_ratio=0.0, timescale=777.0),
}

# Trajectories: few small tensors under names of ours, so that every rule for a name is met.
STEPS, EVERY = 100, 10
SHAPES = {
    "embed_tokens.weight": (9, 6), "up_proj.weight": (13, 6), "down_proj.weight": (6, 13),
    "norm.weight": (6,), "lm_head.weight": (9, 6),
}  # fmt: skip
SCHEDULE = dict(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.1)
RECIPE = dict(lr=0.01, beta1=0.98, beta2=0.98, epsilon=1e-16, weight_decay=0.033, max_grad_norm=1.0)
MUON = dict(lr=0.02, momentum=0.95, nesterov=True, iterations=5, epsilon=1e-8)
OPTIMIZERS = {
    "adamw": dict(RECIPE, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1),
    "cautious": dict(RECIPE, cautious=True),
    "cautious-adamc": dict(RECIPE, cautious=True, adamc=True),
    "muon": dict(RECIPE, cautious=True, adamc=True, muon=MUON),
    "muon-without-nesterov": dict(RECIPE, muon=dict(MUON, nesterov=False)),
}
EMA_OF, EMA_DECAY = "adamw", 0.9

SKIP_STEP = dict(window=32, sigma=6.0)


def count(fraction_or_steps: float, steps: int) -> int:
    return int(fraction_or_steps * steps) if fraction_or_steps <= 1 else int(fraction_or_steps)


def schedule_of(config: dict, peak: float, steps: int) -> optax.Schedule:
    """Warm-up, constant phase and decay joined as Levanter joins them: each phase counts from its own start."""
    warmup = count(config["warmup"], steps)
    decay = count(config["decay"], steps) if "decay" in config else steps - warmup
    stable = steps - warmup - decay
    least = config.get("min_lr_ratio", 0.0) * peak

    def inverse_sqrt(step):
        scale = jnp.minimum(1.0, 1.0 / jnp.sqrt(jnp.maximum(step + warmup, 1) / config["timescale"]))
        return jnp.maximum(peak * scale, least)

    last = {
        "wsd": lambda: optax.linear_schedule(peak, least, decay),
        "linear": lambda: optax.linear_schedule(peak, least, decay),
        "cosine": lambda: optax.cosine_decay_schedule(peak, decay, config["min_lr_ratio"]),
        "constant": lambda: optax.constant_schedule(peak),
        "inverse-sqrt": lambda: inverse_sqrt,
    }[config["kind"]]()
    phases = [(optax.linear_schedule(0.0, peak, warmup), warmup), (optax.constant_schedule(peak), stable), (last, decay)]
    phases = [phase for phase in phases if phase[1] > 0]
    ends = np.cumsum([length for _, length in phases])
    return optax.join_schedules([schedule for schedule, _ in phases], [int(end) for end in ends[:-1]])


def sampled_steps(config: dict) -> np.ndarray:
    """First and last steps, those around the phases' boundaries, and evenly spaced ones."""
    warmup = count(config["warmup"], RUN_STEPS)
    decay = RUN_STEPS - count(config.get("decay", 0.0), RUN_STEPS)
    around = [s + d for s in (0, warmup, decay, RUN_STEPS) for d in range(-3, 4)]
    chosen = {s for s in around if 0 <= s <= RUN_STEPS}
    even = [int(s) for s in np.linspace(0, RUN_STEPS, SAMPLES) if int(s) not in chosen]
    return np.array(sorted(chosen | set(even[: SAMPLES - len(chosen)])), dtype=np.int64)


def make_schedules():
    tensors = {}
    # Operation by operation, as a compiled schedule may contract a product and a sum into one rounding; and step by step,
    # as a vector is divided by a number by multiplying with the number's inverse.
    with jax.disable_jit():
        for name, config in SCHEDULES.items():
            steps, schedule = sampled_steps(config), schedule_of(config, PEAK, RUN_STEPS)
            rates = np.array([schedule(jnp.asarray(step)) for step in steps])
            assert rates.dtype == np.float64 and len(steps) == SAMPLES, (name, rates.dtype, len(steps))
            tensors[f"{name}.steps"], tensors[f"{name}.rates"] = steps, rates
    tensors["peak"] = np.array([PEAK])
    save_file(tensors, OUT / "schedules.safetensors")
    document = dict(versions=VERSIONS, steps=RUN_STEPS, schedules=SCHEDULES)
    (OUT / "schedules.json").write_text(json.dumps(document, indent=1) + "\n")


def make_gradients(rng: np.random.Generator) -> dict:
    """Scales over seven decades, single zeros, rows that never have a gradient, and steps on which whole tensors are 0."""
    gradients = {}
    for name, shape in SHAPES.items():
        scale = 10.0 ** rng.uniform(-5, 2, (STEPS,) + (1,) * len(shape))
        drift = rng.normal(size=shape)
        values = scale * (rng.normal(size=(STEPS,) + shape) + 0.5 * drift)
        values[rng.random(values.shape) < 0.1] = 0.0
        values[rng.random(STEPS) < 0.05] = 0.0
        if name in ("embed_tokens.weight", "down_proj.weight"):
            values[:, 1] = 0.0  # a token that never occurs; a channel that is never used
        gradients[name] = values.astype(np.float32)
    gradients["up_proj.weight"][0] = 0.0
    gradients["norm.weight"][0] = 0.0
    return gradients


def adam(config: dict) -> optax.GradientTransformation:
    """u of AdamW; with `cautious`, u * c / (mean(c) + epsilon) where c = 1[u * g > 0]."""
    plain = optax.scale_by_adam(config["beta1"], config["beta2"], config["epsilon"])

    def caution(u, g):
        mask = (u * g > 0).astype(u.dtype)
        return u * mask / (mask.mean() + config["epsilon"])

    def update(gradients, state, params=None):
        updates, state = plain.update(gradients, state, params)
        return jax.tree.map(caution, updates, gradients), state

    return optax.GradientTransformation(plain.init, update) if config.get("cautious") else plain


def orthogonalized_momentum(config: dict) -> optax.GradientTransformation:
    """optax.contrib.muon averages and bias-corrects its momentum; Jordan's, of which Nesterov's form depends on the
    scale, is optax.trace. The iteration and the factor for the shape are optax's, for weights [out, in]."""
    coefficients = jnp.asarray(_muon._DEFAULT_NS_COEFFS)
    dims = _muon.MuonDimensionNumbers(reduction_axis=1, output_axis=0)

    def update(momentum):
        x = _muon.orthogonalize_via_newton_schulz(
            momentum, coefficients, config["iterations"], "frobenius", config["epsilon"], dims
        )
        return _muon._scale_update_for_width_transfer(x, dims)

    return optax.chain(
        optax.trace(config["momentum"], nesterov=config["nesterov"]),
        optax.stateless(lambda updates, params: jax.tree.map(update, updates)),
    )


def decay_and_rate(config: dict, peak: float, decayed: bool) -> optax.GradientTransformation:
    """-lr * (u + wd * p), with AdamC -lr * (u + wd * lr / peak * p); without decay -lr * u."""
    schedule = schedule_of(SCHEDULE, peak, STEPS)
    weight = config["weight_decay"] if decayed else 0.0

    def update(updates, step, params):
        rate = schedule(step)
        share = rate / peak if config.get("adamc") else 1.0
        return jax.tree.map(lambda u, p: (-rate * (u + weight * share * p)).astype(p.dtype), updates, params), step + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int64), update)


def optimizer_of(config: dict) -> optax.GradientTransformation:
    chain = lambda direction, peak, decayed: optax.chain(direction, decay_and_rate(config, peak, decayed))
    rules = dict(
        free=chain(adam(config), config["lr"], False),
        decayed=chain(adam(config), config["lr"], True),
    )
    if muon := config.get("muon"):
        rules["muon"] = chain(orthogonalized_momentum(muon), muon["lr"], True)
    matrix = "muon" if muon else "decayed"
    labels = {n: matrix if "proj" in n else "decayed" if "lm_head" in n else "free" for n in SHAPES}
    return optax.multi_transform(rules, labels)


def run(config: dict, start: dict, gradients: dict, dtype) -> dict:
    """Parameters after every tenth step, [10, ...] each."""
    params = {name: jnp.asarray(value, dtype) for name, value in start.items()}
    optimizer = optimizer_of(config)
    state = optimizer.init(params)
    seen = {name: [] for name in params}
    step_of = jax.jit(optimizer.update)
    for step in range(STEPS):
        gradient = {name: jnp.asarray(value[step], dtype) for name, value in gradients.items()}
        updates, state = step_of(gradient, state, params)
        params = optax.apply_updates(params, updates)
        if (step + 1) % EVERY == 0:
            for name, value in params.items():
                assert value.dtype == dtype, (name, value.dtype)
                seen[name].append(np.asarray(value))
    return {name: np.stack(values) for name, values in seen.items()}


def moving_average(start: dict, parameters: dict) -> dict:
    """The average after each of the parameters' stacked values, begun at `start`."""
    average = {name: jnp.asarray(value, jnp.float64) for name, value in start.items()}
    seen = {name: [] for name in start}
    for index in range(STEPS // EVERY):
        now = {name: values[index] for name, values in parameters.items()}
        average = optax.incremental_update(now, average, 1 - EMA_DECAY)
        for name, value in average.items():
            seen[name].append(np.asarray(value))
    return {name: np.stack(values) for name, values in seen.items()}


def make_trajectories():
    rng = np.random.default_rng(20)
    start = {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    gradients = make_gradients(rng)
    tensors = {f"start.{n}": v for n, v in start.items()} | {f"grads.{n}": v for n, v in gradients.items()}
    rounding = {}
    for case, config in OPTIMIZERS.items():
        double, single = (run(config, start, gradients, dtype) for dtype in (jnp.float64, jnp.float32))
        tensors |= {f"{case}.{name}": value for name, value in double.items()}
        if case == EMA_OF:
            tensors |= {f"ema.{name}": value for name, value in moving_average(start, double).items()}
        error = lambda a, b: max(np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in zip(a, b))
        worst = max(error(single[name], double[name]) for name in SHAPES)
        rounding[case] = float(f"{worst:.1e}")
    save_file(tensors, OUT / "trajectories.safetensors")
    document = dict(
        versions=VERSIONS, steps=STEPS, every=EVERY, schedule=SCHEDULE, optimizers=OPTIMIZERS,
        ema=dict(of=EMA_OF, decay=EMA_DECAY),
        relative_change_of_optax_in_single_precision=rounding,
    )  # fmt: skip
    (OUT / "trajectories.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(rounding))


def make_spikes():
    """A falling loss and its gradient norm with single spikes of either, an early one, and a level that stays high."""
    rng = np.random.default_rng(3)
    steps = np.arange(240)
    losses = 8 / (1 + steps / 40) + 0.05 * rng.normal(size=240)
    norms = 1 + 0.1 * rng.normal(size=240)
    losses[[5, 60, 61, 100]] += 4.0
    norms[[70, 100, 140]] += 9.0
    norms[190:] += 5.0
    losses, norms = losses.astype(np.float32), norms.astype(np.float32)
    skipped = []
    for step in steps:
        recent = slice(max(0, step - SKIP_STEP["window"]), step)
        known = len(losses[recent]) >= max(2, SKIP_STEP["window"] // 2)
        limit = lambda x: x[recent].mean(dtype=float) + SKIP_STEP["sigma"] * max(x[recent].std(dtype=float), 1e-6)
        skipped.append(bool(known and (losses[step] > limit(losses) or norms[step] > limit(norms))))
    document = dict(
        skip_step=SKIP_STEP, losses=losses.tolist(), grad_norms=norms.tolist(),
        skipped=[int(step) for step in steps[skipped]],
    )  # fmt: skip
    (OUT / "spikes.json").write_text(json.dumps(document) + "\n")
    print("steps left out:", document["skipped"])


if __name__ == "__main__":
    assert jax.config.jax_enable_x64, "set JAX_ENABLE_X64=1: the fixtures are in double precision"
    OUT.mkdir(parents=True, exist_ok=True)
    make_schedules()
    make_trajectories()
    make_spikes()
    print(f"{sum(f.stat().st_size for f in OUT.iterdir())} bytes in {OUT}")
