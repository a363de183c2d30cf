"""Compares training steps and codec encoding on one NVIDIA GPU with PyTorch's, in the same run; see bench_gpu.sh.

    python scripts/bench_gpu.py [train|codec ...] [--sizes 600m 1.7b] [--codecs DIR ...] [--time 4096] [--bin target/release]

PyTorch trains a Qwen3 written here: `torch.compile`, flash attention (`scaled_dot_product_attention`, causal), a linear
cross-entropy in chunks of rows that makes its gradients on the way, as ours does, autocast in bf16, fused AdamW on f32 weights.
Sequences hold one document each. Every case runs in its own process, with the largest micro-batch that fits, up to `--batch`.
Codecs are folders as transformers writes them (scripts/codec_models.py makes one of random weights); its batched encode is the
peer. MFU is against the fastest product of 8192 × 8192 matrices that PyTorch reaches here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_train import VOCABULARY, flops_per_token, shape

ROOT = Path(__file__).resolve().parent.parent
SIZES = ["30m", "150m", "600m", "1.7b", "4b"]
STEPS = 8
CHUNK = 4096


def torch_model(size: str, recompute: bool):
    """A function of tokens and targets `[batch, time]` that gives the loss, and the parameters."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.checkpoint import checkpoint

    s = shape(size)
    hidden, heads, kv_heads, head = (s[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))

    def rotate(x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            linear = lambda i, o: nn.Linear(i, o, bias=False)  # noqa: E731
            self.q, self.k, self.v = linear(hidden, heads * head), linear(hidden, kv_heads * head), linear(hidden, kv_heads * head)
            self.o = linear(heads * head, hidden)
            inner = s["intermediate_size"]
            self.gate, self.up, self.down = linear(hidden, inner), linear(hidden, inner), linear(inner, hidden)
            self.norm, self.mlp_norm = nn.RMSNorm(hidden, 1e-5), nn.RMSNorm(hidden, 1e-5)
            self.q_norm, self.k_norm = nn.RMSNorm(head, 1e-5), nn.RMSNorm(head, 1e-5)

        def forward(self, x, cos, sin):
            batch, time, _ = x.shape
            y = self.norm(x)
            split = lambda y, n: y.view(batch, time, n, head)  # noqa: E731
            q, k = self.q_norm(split(self.q(y), heads)), self.k_norm(split(self.k(y), kv_heads))
            q, k = (rotate(t.transpose(1, 2), cos, sin).to(y.dtype) for t in (q, k))
            v = split(self.v(y), kv_heads).transpose(1, 2)
            out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True, enable_gqa=heads != kv_heads)
            x = x + self.o(out.transpose(1, 2).reshape(batch, time, heads * head))
            y = self.mlp_norm(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(s["num_hidden_layers"]))
            self.norm = nn.RMSNorm(hidden, 1e-5)
            self.head = nn.Linear(hidden, VOCABULARY, bias=False)
            if s.get("tie_word_embeddings"):
                self.head.weight = self.embed.weight

        def forward(self, tokens, cos, sin):
            x = self.embed(tokens)
            for layer in self.layers:
                x = checkpoint(layer, x, cos, sin, use_reentrant=False) if recompute else layer(x, cos, sin)
            return self.norm(x)

    @torch.compile
    def chunk_loss(logits, targets, scale):
        logits = logits.float()
        lse = logits.logsumexp(-1)
        loss = (lse - logits.gather(1, targets[:, None])[:, 0]).sum() * scale
        grad = (logits - lse[:, None]).exp() * scale
        return loss, grad.scatter_add(1, targets[:, None], -scale.expand(len(targets), 1)).bfloat16()

    class LinearCrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, targets):
            x, half = x.bfloat16(), weight.bfloat16()
            grad_x, grad_w = torch.empty_like(x), torch.zeros_like(weight)
            loss, scale = 0.0, torch.tensor([[1 / len(x)]], device=x.device)
            for start in range(0, len(x), CHUNK):
                rows = slice(start, start + CHUNK)
                part, grad = chunk_loss(x[rows] @ half.T, targets[rows], scale)
                loss = loss + part
                grad_x[rows] = grad @ half
                grad_w += grad.T @ x[rows]
            ctx.save_for_backward(grad_x, grad_w)
            return loss.reshape(())

        @staticmethod
        def backward(ctx, upstream):
            grad_x, grad_w = ctx.saved_tensors
            return grad_x * upstream, grad_w * upstream, None

    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Model()
    body = torch.compile(model)

    def forward(tokens, targets):
        position = torch.arange(tokens.shape[1], device="cuda")
        angle = position[:, None] * 500_000.0 ** (-torch.arange(0, head, 2, device="cuda") / head)
        angle = torch.cat((angle, angle), -1)
        with torch.autocast("cuda", torch.bfloat16):
            x = body(tokens, angle.cos(), angle.sin())
        return LinearCrossEntropy.apply(x.flatten(0, 1), model.head.weight, targets.flatten())

    return forward, list(model.parameters())


def torch_steps(size: str, batch: int, length: int, recompute: bool) -> None:
    import torch

    torch.set_float32_matmul_precision("high")
    forward, parameters = torch_model(size, recompute)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    secs = []
    for _ in range(STEPS):
        tokens = torch.randint(VOCABULARY, (batch, length + 1)).cuda()
        torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = forward(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        loss.item()
        secs.append(time.perf_counter() - start)
    print(json.dumps({"secs": secs, "loss": loss.item()}))


def torch_peak() -> None:
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 10)
    print(json.dumps({"secs": [best], "flops": 2 * 8192**3 / best}))


def torch_codec(folder: str, waves: str) -> None:
    """Batched encode of transformers: sorted by length, some three minutes at a time."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).cuda().eval()
    inputs = sorted(load_file(waves).values(), key=len, reverse=True)
    batches, rate = [], 24_000
    while inputs:
        count = max(1, 180 * rate // len(inputs[0]))
        rows = inputs[:count]
        inputs = inputs[count:]
        padded = torch.nn.utils.rnn.pad_sequence([row.flatten() for row in rows], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(row.numel(), dtype=torch.bool) for row in rows], batch_first=True)
        batches.append((padded[:, None], mask[:, None]))
    secs = []
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.inference_mode():
            for samples, mask in batches:
                model.encode(samples.cuda(), padding_mask=mask.cuda()).audio_codes.cpu()
        secs.append(time.perf_counter() - start)
    print(json.dumps({"secs": secs}))


class Memory(threading.Thread):
    """The most memory of the GPU that was in use, in MiB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def run(self):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not self.done.wait(0.2):
            self.peak = max(self.peak, int(subprocess.run(query, capture_output=True, text=True).stdout.split()[0]))


def run(command: list) -> dict | None:
    """What a program prints at last, with its fastest time and the memory of the GPU; none if it failed."""
    memory = Memory()
    memory.start()
    out = subprocess.run([str(part) for part in command], text=True, capture_output=True)
    memory.done.set()
    memory.join()
    if out.returncode:
        print(f"  ({' '.join(map(str, command[1:]))}: {out.stderr.strip().splitlines()[-1:]})", file=sys.stderr)
        return None
    said = json.loads(out.stdout.splitlines()[-1])
    return said | {"fastest_secs": min(said["secs"]), "gpu_mib": memory.peak}


def torch(*case: object) -> dict | None:
    return run([sys.executable, __file__, "--torch", *case])


def largest(most: int, program) -> tuple[int, bool, dict] | None:
    """The best of the largest micro-batches that fit, keeping activations or else computing them again."""
    for recompute in (False, True):
        best, batch = None, most
        while batch:
            said = program(batch, recompute)
            if said:
                best = (batch, recompute, said)
                break
            batch //= 2
        if best:
            return best
    return None


def train(args: argparse.Namespace) -> None:
    peak = torch("peak")["flops"]
    print(f"fastest product: {peak / 1e12:.0f} TFLOP/s in bf16\n")
    print("| model | | micro-batch | tokens/s | ms a step | MFU | GPU memory, GiB | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|")
    for size in args.sizes:
        flags = ["--model", size, "--time", args.time, "--precision", "bf16", "--steps", STEPS, "--backend", args.backend]

        def ours(batch: int, recompute: bool) -> dict | None:
            return run([args.bin / "examples/step_speed", *flags, "--batch", batch, *(["--recompute"] if recompute else [])])

        def theirs(batch: int, recompute: bool) -> dict | None:
            return torch("train", size, batch, args.time, int(recompute))

        rates = []
        for name, program in (("PyTorch", theirs), ("ours", ours)):
            found = largest(args.batch, program)
            if not found:
                print(f"| {size} | {name} | does not run | | | | | |", flush=True)
                continue
            batch, recompute, said = found
            rate = batch * args.time / said["fastest_secs"]
            rates.append(rate)
            ratio = f"{rates[-1] / rates[0]:.2f}" if len(rates) == 2 else ""
            print(
                f"| {size} | {name}{', recomputing' if recompute else ''} | {batch} | {rate:,.0f} | {1e3 * said['fastest_secs']:,.0f} "
                f"| {rate * flops_per_token(size, args.time) / peak:.1%} | {said['gpu_mib'] / 1024:.1f} | {ratio} |",
                flush=True,
            )


def codec(args: argparse.Namespace) -> None:
    import numpy
    from safetensors.numpy import save_file

    print("| codec | × real time | transformers | ratio |\n|---|--:|--:|--:|")
    random = numpy.random.default_rng(0)
    lengths = random.uniform(2, 20, 256)
    with tempfile.TemporaryDirectory() as scratch:
        waves = Path(scratch) / "waves.safetensors"
        save_file({f"{i:04}": (0.1 * random.standard_normal(int(24_000 * secs))).astype("f4") for i, secs in enumerate(lengths)}, waves)
        for folder in args.codecs:
            out = Path(scratch) / "codes.safetensors"
            flags = ["--backend", args.backend, "--threads", 1, "--repeat", 4, "--batch-secs", 180]
            ours = run([args.bin / "examples/codec", "encode", folder, waves, out, *flags])
            theirs = torch("codec", folder, waves)
            rates = [sum(lengths) / said["fastest_secs"] if said else float("nan") for said in (ours, theirs)]
            print(f"| {Path(folder).name} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[0] / rates[1]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=["train", "codec"], metavar="train|codec")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--codecs", nargs="*", default=[], metavar="DIR")
    parser.add_argument("--time", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16, help="largest micro-batch that is tried")
    parser.add_argument("--backend", default="cuda", help="cuda or tch")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release")
    parser.add_argument("--torch", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    match args.torch:
        case None:
            for section in args.sections:
                {"train": train, "codec": codec}[section](args)
                print()
        case ["peak"]:
            torch_peak()
        case ["train", size, batch, length, recompute]:
            torch_steps(size, int(batch), int(length), recompute == "1")
        case ["codec", folder, waves]:
            torch_codec(folder, waves)


if __name__ == "__main__":
    main()
