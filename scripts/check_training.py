"""Trains the recipe's 30m model with its whole vocabulary, kills and resumes it, exports it, and lets transformers generate.

    python scripts/check_training.py [FOLDER]        # needs torch, transformers and the built programs; about ten minutes

The corpus is the bundled one and the codec the embedded one. The tokenizer has the form and the ids of the recipe's (128,000
byte-level BPE tokens, 256 special ones), but its merges are made up, so nothing needs a download: only the numbers matter.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TEXT_TOKENS, SPECIAL_TOKENS, VOCABULARY = 128_000, 256, 144_644
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXPERIMENT = """
name = "check-30m"
mix = "quickstart"
seed = 0
seq_len = 512
batch_size = 4
steps = 50
validate_every = 25
validation_sequences = 8
precision = "f32"

[model]
size = "30m"

[loss]
z_loss_weight = 1e-4

[optimizer]
lr = 3e-3
beta1 = 0.98
beta2 = 0.98
epsilon = 1e-16
weight_decay = 0.033
max_grad_norm = 1.0
cautious = true
adamc = true

[schedule]
kind = "wsd"
warmup = 0.1
decay = 0.2
min_lr_ratio = 0.0

[checkpoint]
every_steps = 20
"""


def byte_alphabet() -> list[str]:
    """GPT-2's characters for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]


def tokenizer() -> dict:
    """A tokenizer.json of Llama 3's form: all pairs of bytes are tokens, and as many triples as there is room for."""
    alphabet = byte_alphabet()
    tokens, merges = list(alphabet), []
    pairs = [a + b for a, b in product(alphabet, alphabet)]
    for (a, b), pair in zip(product(alphabet, alphabet), pairs):
        tokens.append(pair)
        merges.append([a, b])
    for pair, byte in product(pairs, alphabet):
        if len(tokens) == TEXT_TOKENS:
            break
        tokens.append(pair + byte)
        merges.append([pair, byte])
    names = ["<|begin_of_text|>", "<|end_of_text|>"]
    names += [f"<|reserved_special_token_{n}|>" for n in range(SPECIAL_TOKENS - len(names))]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    split = dict(type="Split", pattern=dict(Regex=LLAMA3_SPLIT), behavior="Isolated", invert=False)
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    return dict(
        version="1.0", truncation=None, padding=None, normalizer=None, post_processor=None,
        added_tokens=[dict(id=TEXT_TOKENS + n, content=name, **flags) for n, name in enumerate(names)],
        pre_tokenizer=dict(type="Sequence", pretokenizers=[split, level]),
        decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        model=dict(
            type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
            fuse_unk=False, byte_fallback=False, ignore_merges=True,
            vocab={token: id for id, token in enumerate(tokens)}, merges=merges,
        ),
    )  # fmt: skip


def run(program: str, *arguments, **options) -> str:
    command = [str(BIN / program), *map(str, arguments)]
    print("$", *command, file=sys.stderr)
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def train_with_a_kill(command: list[str], out: Path) -> None:
    """Kills the run once its second checkpoint is there, and resumes it."""
    process = subprocess.Popen(command)
    while not (out / "checkpoints" / "step-40").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    print("killed after", (out / "metrics.jsonl").read_text().count('"kind":"train"'), "steps", file=sys.stderr)
    subprocess.run([*command, "--resume"], check=True)


def check_export(export: Path, checkpoint: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(export)
    assert len(tokens) == model.config.vocab_size == VOCABULARY, (len(tokens), model.config.vocab_size)
    trained = load_file(checkpoint / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, trained[name]), f"{name} is not what was trained"
    ids = torch.tensor([tokens.convert_tokens_to_ids(["<|begin_of_text|>", "<|text_start|>"])])
    made = model.generate(ids, max_new_tokens=24, do_sample=False)
    print("transformers generated", made[0].tolist())
    assert made.shape[1] > ids.shape[1]


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="timbre-check-"))
    folder.mkdir(parents=True, exist_ok=True)
    base, experiment, out, export = (folder / name for name in ("base.json", "check-30m.toml", "run", "export"))
    base.write_text(json.dumps(tokenizer()))
    experiment.write_text(EXPERIMENT)
    run("tokenize", "vocab", "--base", base, "--out", folder / "tokenizer")
    run(
        "tokenize", "folder", ROOT / "tests/corpus", "--codec", "mel-rvq", "--tokenizer", folder / "tokenizer",
        "--out", folder / "data/quickstart",
    )  # fmt: skip
    command = [str(BIN / "pretrain"), str(experiment), "--data", str(folder / "data"), "--out", str(out)]
    train_with_a_kill(command, out)
    checkpoint = out / "checkpoints" / "step-50"
    print(run("convert", "hf-export", checkpoint, "--out", export))
    check_export(export, checkpoint)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert len(losses) == 50 and losses[-1] < losses[0] - 1, losses
    print(f"all is well: loss {losses[0]:.3f} to {losses[-1]:.3f}, everything is in {folder}")


if __name__ == "__main__":
    main()
