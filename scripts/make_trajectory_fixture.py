"""Makes tests/fixtures/trajectory: two training runs of transformers' Qwen3 that ours must follow, and logits and gradients
of three small models.

    python scripts/make_trajectory_fixture.py        # needs torch, transformers, safetensors

The runs are tiny but have every part of the recipe that can go wrong quietly: packed documents, llama3 RoPE,
grouped heads, QK-norm, an untied head, z-loss, clipping, decoupled decay on linear layers only, WSD. The first is
PyTorch's AdamW, the second the recipe's Cautious AdamC.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "trajectory"
BATCH, TIME = 2, 32
BOS, EOS = 1, 2
EMBEDDING_STD = 0.2
MAX_GRAD_NORM, Z_LOSS_WEIGHT = 1.0, 1e-4
LLAMA3_ROPE = dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
    high_freq_factor=4.0, original_max_position_embeddings=8192,
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Schedule and optimizer of a run."""

    name: str
    steps: int
    warmup_steps: int
    decay_steps: int
    peak_lr: float
    betas: tuple
    epsilon: float
    weight_decay: float

    def learning_rate(self, step: int) -> float:
        """Optax's convention: the rate of update `step` (0-based), so update 0 has rate 0."""
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        into_decay = max(0, step - (self.steps - self.decay_steps))
        return self.peak_lr * (1 - into_decay / self.decay_steps)


ADAMW = Run("AdamW", 60, 6, 12, 3e-3, (0.9, 0.95), 1e-8, 0.1)
RECIPE = Run("Cautious AdamC", 200, 20, 40, 1e-3, (0.98, 0.98), 1e-16, 0.033)


class CautiousAdamC(torch.optim.Optimizer):
    """p -= lr * (u * c / (mean(c) + epsilon) + weight_decay * lr / peak_lr * p), where u = m / (sqrt(v) + epsilon) of
    bias-corrected moments and c = 1[u * g > 0], its mean being that of the whole tensor."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), epsilon, lr = group["betas"], group["eps"], group["lr"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["step"] += 1
                state["m"].lerp_(p.grad, 1 - beta1)
                state["v"].lerp_(p.grad**2, 1 - beta2)
                mean = state["m"] / (1 - beta1 ** state["step"])
                root = (state["v"] / (1 - beta2 ** state["step"])).sqrt()
                u = mean / (root + epsilon)
                mask = (u * p.grad > 0).to(p.dtype)
                u = u * mask / (mask.mean() + epsilon)
                p -= lr * (u + group["weight_decay"] * lr / group["peak_lr"] * p)


def build(seed: int, **overrides) -> Qwen3ForCausalLM:
    """A float32 model whose norm scales are N(0.8, 0.1^2) and whose weights are large enough that every gradient matters.

    Scales and the embedding's spread are chosen so that gradient norms fall on both sides of the clipping threshold.
    """
    config = Qwen3Config(
        hidden_act="silu", rms_norm_eps=1e-5, attention_bias=False, attention_dropout=0.0, use_cache=False,
        initializer_range=0.02, bos_token_id=BOS, eos_token_id=EOS, dtype="float32", **overrides,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = Qwen3ForCausalLM(config).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            std = EMBEDDING_STD if "embed" in name else 0.05
            parameter.copy_(0.8 + 0.1 * noise if "norm" in name else std * noise)
    return model.train()


def packed(generator: torch.Generator, sequences: int, time: int, vocab: int):
    """Documents BOS, a noisy arithmetic walk, EOS, cut at the sequence's end. Returns tokens, segment_ids [sequences, time]."""
    draw = lambda low, high: int(torch.randint(low, high, (1,), generator=generator))
    tokens = torch.zeros(sequences, time, dtype=torch.int32)
    segment_ids = torch.zeros(sequences, time, dtype=torch.int32)
    for row in range(sequences):
        stream, owners = [], []
        while len(stream) < time:
            token, stride = draw(3, vocab), draw(1, 4)
            document = [BOS]
            for _ in range(draw(4, 20)):
                document.append(token)
                noise = draw(0, 8) == 0
                token = draw(3, vocab) if noise else 3 + (token - 3 + stride) % (vocab - 3)
            document.append(EOS)
            owners += [owners[-1] + 1 if owners else 0] * len(document)
            stream += document
        tokens[row] = torch.tensor(stream[:time])
        segment_ids[row] = torch.tensor(owners[:time])
    return tokens, segment_ids


def logits_of(model, tokens, segment_ids):
    """Logits [batch, time, vocab]; causal within a document, and RoPE positions 0..time-1 over the whole sequence."""
    time = tokens.shape[1]
    same_document = segment_ids[:, :, None] == segment_ids[:, None, :]
    allowed = same_document & torch.ones(time, time, dtype=torch.bool).tril()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    positions = torch.arange(time)[None].expand(tokens.shape)
    return model(input_ids=tokens.long(), attention_mask=mask[:, None], position_ids=positions).logits


def loss_of(model, tokens, segment_ids):
    """(total, z part): mean over all positions but each sequence's last of cross-entropy + z * logsumexp^2."""
    logits = logits_of(model, tokens, segment_ids)[:, :-1]  # [batch, time - 1, vocab]
    targets = tokens[:, 1:].long()
    log_z = logits.logsumexp(-1)
    cross_entropy = log_z - logits.gather(-1, targets[..., None])[..., 0]
    z_loss = (Z_LOSS_WEIGHT * log_z**2).mean()
    return cross_entropy.mean() + z_loss, z_loss


def gradients_of(model, tokens, segment_ids) -> dict:
    """The gradient of the loss with respect to every parameter, as grads.NAME."""
    model.zero_grad()
    loss_of(model, tokens, segment_ids)[0].backward()
    return {f"grads.{name}": parameter.grad.clone() for name, parameter in model.named_parameters()}


def optimizer_of(run: Run, model):
    linear = [p for n, p in model.named_parameters() if n.endswith("proj.weight") or n == "lm_head.weight"]
    others = [p for n, p in model.named_parameters() if not (n.endswith("proj.weight") or n == "lm_head.weight")]
    groups = [dict(params=linear, weight_decay=run.weight_decay), dict(params=others, weight_decay=0.0)]
    if run.name == "AdamW":
        return torch.optim.AdamW(groups, lr=0.0, betas=run.betas, eps=run.epsilon, foreach=False)
    return CautiousAdamC(groups, dict(lr=0.0, betas=run.betas, eps=run.epsilon, peak_lr=run.peak_lr))


def train(run: Run, model, tokens, segment_ids) -> dict:
    """Runs all steps; returns the history."""
    optimizer = optimizer_of(run, model)
    history = dict(loss=[], z_loss=[], grad_norm=[], lr=[])
    for step in range(run.steps):
        optimizer.zero_grad()
        loss, z_loss = loss_of(model, tokens[step], segment_ids[step])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM, foreach=False)
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate(step)
        optimizer.step()
        for key, value in (("loss", loss), ("z_loss", z_loss), ("grad_norm", norm), ("lr", run.learning_rate(step))):
            history[key].append(float(torch.as_tensor(value).detach()))
    return history


def rounding_spread(run: Run, make_model, tokens, segment_ids, reference) -> dict:
    """Largest relative change of losses and norms, in double precision and with initial weights moved by about half an ulp."""
    spread = dict(loss=0.0, grad_norm=0.0)
    for seed in range(5):
        model = make_model()
        generator = torch.Generator().manual_seed(1000 + seed)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.mul_(1 + 2**-24 * noise)
        if seed == 0:
            model = make_model().double()
        moved = train(run, model, tokens, segment_ids)
        for key in spread:
            change = max(abs(a - b) / abs(b) for a, b in zip(moved[key], reference[key]))
            spread[key] = max(spread[key], change)
    return spread


UNTIED = dict(
    vocab_size=160, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, max_position_embeddings=4096,
)  # fmt: skip


def untied() -> Qwen3ForCausalLM:
    return build(seed=7, rope_parameters=dict(LLAMA3_ROPE), **UNTIED)


def save_trajectory(run: Run, seed: int, folder: Path) -> tuple:
    """Batches and history of the untied model's run. Returns tokens and segment_ids of the first batch."""
    folder.mkdir(exist_ok=True)
    tokens, segment_ids = packed(torch.Generator().manual_seed(seed), run.steps * BATCH, TIME, UNTIED["vocab_size"])
    tokens, segment_ids = tokens.view(run.steps, BATCH, TIME), segment_ids.view(run.steps, BATCH, TIME)
    save_file(dict(tokens=tokens, segment_ids=segment_ids), folder / "batches.safetensors")
    history = train(run, untied(), tokens, segment_ids)
    spread = rounding_spread(run, untied, tokens, segment_ids, history)
    write_trajectory(run, history, spread, folder / "trajectory.json")
    print(f"{run.name}: loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.4f}, spread {spread}")
    print(f"clipped steps {sum(n > MAX_GRAD_NORM for n in history['grad_norm'])} of {run.steps}")
    return tokens[0], segment_ids[0]


def save_parity(model, tokens, segment_ids, folder: Path, with_batch: bool):
    """Configuration, weights, logits and gradients of a model, and the batch unless it is kept elsewhere."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(model.config.to_json_string())
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, folder / "init.safetensors")
    logits = logits_of(model, tokens, segment_ids).detach()
    batch = dict(tokens=tokens, segment_ids=segment_ids) if with_batch else {}
    gradients = gradients_of(model, tokens, segment_ids)
    save_file(dict(batch, logits=logits, **gradients), folder / "logits.safetensors")


def write_trajectory(run: Run, history, spread, path: Path):
    tolerance = {key: float(f"{10 ** math.ceil(math.log10(10 * value)):.0e}") for key, value in spread.items()}
    document = dict(
        versions=dict(torch=torch.__version__, transformers=transformers.__version__),
        optimizer=dict(
            name=run.name, betas=run.betas, epsilon=run.epsilon, weight_decay=run.weight_decay,
            decayed="*proj.weight and lm_head.weight", max_grad_norm=MAX_GRAD_NORM,
        ),
        schedule=dict(
            peak_lr=run.peak_lr, steps=run.steps, warmup_steps=run.warmup_steps, decay_steps=run.decay_steps
        ),
        z_loss_weight=Z_LOSS_WEIGHT,
        relative_tolerance=tolerance,
        relative_rounding_spread={key: float(f"{value:.1e}") for key, value in spread.items()},
        why_this_tolerance="relative_rounding_spread is the largest change over the run when the run is in double "
        "precision, or when each initial weight moves by about half a unit in the last place (4 trials); "
        "the tolerance is ten times that, rounded up to a power of ten",
        **history,
    )  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")


def tied() -> Qwen3ForCausalLM:
    """A tied head, as many key-value heads as heads, and plain RoPE."""
    return build(
        seed=13, vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, max_position_embeddings=4096,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    )  # fmt: skip


def one_key_value_head() -> Qwen3ForCausalLM:
    """Three layers, one key-value head, heads of another width than hidden_size / heads, a tied head, llama3 RoPE."""
    return build(
        seed=19, vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=12, tie_word_embeddings=True, max_position_embeddings=4096,
        rope_parameters=dict(LLAMA3_ROPE),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    OUT.mkdir(parents=True, exist_ok=True)
    first_batch = save_trajectory(ADAMW, 11, OUT)
    save_parity(untied(), *first_batch, OUT, with_batch=False)
    save_trajectory(RECIPE, 23, OUT / "recipe")
    save_parity(tied(), *packed(torch.Generator().manual_seed(17), 1, TIME, 32), OUT / "tied", with_batch=True)
    batch = packed(torch.Generator().manual_seed(29), 2, TIME, 48)
    save_parity(one_key_value_head(), *batch, OUT / "one-kv-head", with_batch=True)
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes in {OUT}")
