"""Makes tests/fixtures/lora: a run of the untied model of tests/fixtures/trajectory with PEFT's low-rank updates, which ours must
follow.

    python scripts/make_lora_fixture.py        # needs torch, transformers, safetensors, peft

The factors begin at random values, B too, so that every gradient matters from the first step on.
"""

import json

import peft
import torch
from make_trajectory_fixture import ADAMW, BATCH, OUT, TIME, UNTIED, packed, rounding_spread, train, untied, write_trajectory
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

FOLDER = OUT.parent / "lora"
RANK, ALPHA, TARGETS = 4, 6.0, ["q_proj", "v_proj", "down_proj"]
SEED = 31


class Adapted(torch.nn.Module):
    """A model of PEFT under the interface of a plain one: what it trains are the factors alone."""

    def __init__(self):
        super().__init__()
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0)
        self.model = get_peft_model(untied(), config).float()
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for parameter in self.factors().values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))

    def factors(self) -> dict:
        """By our names: model.layers.0.self_attn.q_proj.lora.a."""
        found = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                name = name.removeprefix("base_model.model.").removesuffix(".default.weight")
                found[name.replace("lora_A", "lora.a").replace("lora_B", "lora.b")] = parameter
        return found

    def named_parameters(self, *_, **__):
        # as matrices that decay
        return ((f"{name}.proj.weight", parameter) for name, parameter in self.factors().items())

    def parameters(self, *_, **__):
        return iter(self.factors().values())

    def forward(self, **inputs):
        return self.model(**inputs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokens, segment_ids = packed(torch.Generator().manual_seed(37), ADAMW.steps * BATCH, TIME, UNTIED["vocab_size"])
    shape = (ADAMW.steps, BATCH, TIME)
    tokens, segment_ids = tokens.view(shape), segment_ids.view(shape)
    save_file(dict(tokens=tokens, segment_ids=segment_ids), FOLDER / "batches.safetensors")
    factors = {name: parameter.detach().clone().contiguous() for name, parameter in Adapted().factors().items()}
    save_file(factors, FOLDER / "factors.safetensors")
    history = train(ADAMW, Adapted(), tokens, segment_ids)
    spread = rounding_spread(ADAMW, Adapted, tokens, segment_ids, history)
    path = FOLDER / "trajectory.json"
    write_trajectory(ADAMW, history, spread, path)
    document = json.loads(path.read_text())
    document["versions"]["peft"] = peft.__version__
    document["lora"] = dict(rank=RANK, alpha=ALPHA, targets=TARGETS)
    document["optimizer"]["decayed"] = "both factors"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.4f}, spread {spread}")
    print(f"{sum(f.stat().st_size for f in FOLDER.iterdir())} bytes in {FOLDER}")
