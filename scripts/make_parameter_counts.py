"""Makes tests/fixtures/parameters.toml: how many parameters transformers' Qwen3 has in each of the recipe's sizes.

    python scripts/make_parameter_counts.py        # needs torch, transformers; no memory for weights
"""

import tomllib
from pathlib import Path

import torch
import transformers
from transformers import Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parent.parent
VOCABULARIES = {"marin": 144_644, "qwen3x": 168_058}


def parameters(model: dict, vocab_size: int, tied: bool) -> int:
    shape = {key: value for key, value in model.items() if key != "tie_word_embeddings"}
    config = Qwen3Config(vocab_size=vocab_size, tie_word_embeddings=tied, attention_bias=False, **shape)
    with torch.device("meta"):
        return Qwen3ForCausalLM(config).num_parameters()


if __name__ == "__main__":
    models = tomllib.loads((ROOT / "experiments" / "models.toml").read_text())
    lines = [
        "# Trainable parameters of the sizes in experiments/models.toml with each vocabulary, by",
        f"# scripts/make_parameter_counts.py with transformers {transformers.__version__}.",
    ]
    for size, model in models.items():
        for name, vocab_size in VOCABULARIES.items():
            counts = [parameters(model, vocab_size, tied) for tied in (True, False)]
            lines += ["", "[[model]]", f'size = "{size}"', f"vocab_size = {vocab_size} # {name}"]
            lines += [f"tied = {counts[0]}", f"untied = {counts[1]}"]
    (ROOT / "tests" / "fixtures" / "parameters.toml").write_text("\n".join(lines) + "\n")
