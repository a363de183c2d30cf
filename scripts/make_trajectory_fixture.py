"""Makes tests/fixtures/trajectory: a short training run of transformers' Qwen3 that ours must follow.

    python scripts/make_trajectory_fixture.py        # needs torch, transformers, safetensors

The run is tiny but has every part of the recipe that can go wrong quietly: packed documents, llama3 RoPE,
grouped heads, QK-norm, an untied head, z-loss, clipping, decoupled decay on linear layers only, WSD.
"""

import json
import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "trajectory"
STEPS, BATCH, TIME = 60, 2, 32
BOS, EOS = 1, 2
PEAK_LR, WARMUP_STEPS, DECAY_STEPS = 3e-3, 6, 12
BETAS, EPSILON, WEIGHT_DECAY = (0.9, 0.95), 1e-8, 0.1
EMBEDDING_STD = 0.2
MAX_GRAD_NORM, Z_LOSS_WEIGHT = 1.0, 1e-4
LLAMA3_ROPE = dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
    high_freq_factor=4.0, original_max_position_embeddings=8192,
)  # fmt: skip


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


def learning_rate(step: int) -> float:
    """Optax's convention: the rate of update `step` (0-based), so update 0 has rate 0."""
    if step < WARMUP_STEPS:
        return PEAK_LR * step / WARMUP_STEPS
    into_decay = max(0, step - (STEPS - DECAY_STEPS))
    return PEAK_LR * (1 - into_decay / DECAY_STEPS)


def train(model, tokens, segment_ids):
    """Runs all steps; returns the history and the gradients of step 0, before clipping."""
    linear = [p for n, p in model.named_parameters() if n.endswith("proj.weight") or n == "lm_head.weight"]
    others = [p for n, p in model.named_parameters() if not (n.endswith("proj.weight") or n == "lm_head.weight")]
    groups = [dict(params=linear, weight_decay=WEIGHT_DECAY), dict(params=others, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPSILON, foreach=False)
    history, first_grads = dict(loss=[], z_loss=[], grad_norm=[], lr=[]), {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss, z_loss = loss_of(model, tokens[step], segment_ids[step])
        loss.backward()
        if step == 0:
            first_grads = {f"grads.{n}": p.grad.clone() for n, p in model.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM, foreach=False)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        for key, value in (("loss", loss), ("z_loss", z_loss), ("grad_norm", norm), ("lr", learning_rate(step))):
            history[key].append(float(torch.as_tensor(value).detach()))
    return history, first_grads


def rounding_spread(make_model, tokens, segment_ids, reference) -> dict:
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
        moved, _ = train(model, tokens, segment_ids)
        for key in spread:
            change = max(abs(a - b) / abs(b) for a, b in zip(moved[key], reference[key]))
            spread[key] = max(spread[key], change)
    return spread


def untied_trajectory():
    shape = dict(
        vocab_size=160, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, max_position_embeddings=4096,
    )  # fmt: skip
    make_model = lambda: build(seed=7, rope_parameters=dict(LLAMA3_ROPE), **shape)
    model = make_model()
    generator = torch.Generator().manual_seed(11)
    tokens, segment_ids = packed(generator, STEPS * BATCH, TIME, shape["vocab_size"])
    tokens, segment_ids = tokens.view(STEPS, BATCH, TIME), segment_ids.view(STEPS, BATCH, TIME)

    (OUT / "config.json").write_text(model.config.to_json_string())
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, OUT / "init.safetensors")
    save_file(dict(tokens=tokens, segment_ids=segment_ids), OUT / "batches.safetensors")
    logits = logits_of(model, tokens[0], segment_ids[0]).detach()
    history, grads = train(model, tokens, segment_ids)
    save_file(dict(logits=logits, **grads), OUT / "logits.safetensors")
    spread = rounding_spread(make_model, tokens, segment_ids, history)
    write_trajectory(history, spread)
    return history, spread


def write_trajectory(history, spread):
    tolerance = {key: float(f"{10 ** math.ceil(math.log10(10 * value)):.0e}") for key, value in spread.items()}
    document = dict(
        versions=dict(torch=torch.__version__, transformers=transformers.__version__),
        optimizer=dict(
            name="AdamW", betas=BETAS, epsilon=EPSILON, weight_decay=WEIGHT_DECAY,
            decayed="*proj.weight and lm_head.weight", max_grad_norm=MAX_GRAD_NORM,
        ),
        schedule=dict(peak_lr=PEAK_LR, steps=STEPS, warmup_steps=WARMUP_STEPS, decay_steps=DECAY_STEPS),
        z_loss_weight=Z_LOSS_WEIGHT,
        relative_tolerance=tolerance,
        relative_rounding_spread={key: float(f"{value:.1e}") for key, value in spread.items()},
        why_this_tolerance="relative_rounding_spread is the largest change over 60 steps when the run is in double "
        "precision, or when each initial weight moves by about half a unit in the last place (4 trials); "
        "the tolerance is ten times that, rounded up to a power of ten",
        **history,
    )  # fmt: skip
    (OUT / "trajectory.json").write_text(json.dumps(document, indent=1) + "\n")


def tied_logits():
    """A second model with a tied head, as many key-value heads as heads, and plain RoPE: weights, batch and logits."""
    model = build(
        seed=13, vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, max_position_embeddings=4096,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    )  # fmt: skip
    tokens, segment_ids = packed(torch.Generator().manual_seed(17), 1, TIME, 32)
    logits = logits_of(model, tokens, segment_ids).detach()
    (OUT / "tied").mkdir(exist_ok=True)
    (OUT / "tied" / "config.json").write_text(model.config.to_json_string())
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, OUT / "tied" / "init.safetensors")
    save_file(dict(tokens=tokens, segment_ids=segment_ids, logits=logits), OUT / "tied" / "logits.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    OUT.mkdir(parents=True, exist_ok=True)
    history, spread = untied_trajectory()
    tied_logits()
    print(f"loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.4f}, spread {spread}")
    print(f"clipped steps {sum(n > MAX_GRAD_NORM for n in history['grad_norm'])} of {STEPS}")
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes in {OUT}")
