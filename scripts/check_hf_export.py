"""Checks that transformers loads what `convert hf-export` wrote, generates from it, and computes our logits.

    python scripts/check_hf_export.py FOLDER [--ids 1,2,3] [--tolerance 1e-4]      # needs torch, transformers, safetensors

Our logits are computed by pretrain/examples/logits.rs, which is built and run. Exits with 1 if they differ by more than
the tolerance, relative to the largest.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent


def our_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    """[tokens, vocab]"""
    with tempfile.TemporaryDirectory() as out:
        example = ["cargo", "run", "--release", "--quiet", "-p", "pretrain", "--example", "logits", "--"]
        subprocess.run([*example, folder.resolve(), ",".join(map(str, ids)), out], cwd=ROOT, check=True)
        return load_file(Path(out) / "logits.safetensors")["logits"].clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ids", default=None, help="the prompt; by default that of a sentence")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    # ours are of the stored weights, computed in float32
    model, report = AutoModelForCausalLM.from_pretrained(
        arguments.folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    wrong = {kind: list(names) for kind, names in report.items() if names}
    assert not wrong, f"transformers did not find every tensor in its place: {wrong}"
    assert len(tokenizer) <= model.config.vocab_size, (len(tokenizer), model.config.vocab_size)

    if arguments.ids:
        ids = [int(number) for number in arguments.ids.split(",")]
    else:
        ids = tokenizer("Good morning.", add_special_tokens=False).input_ids
    prompt = torch.tensor([ids])
    with torch.no_grad():
        theirs = model(prompt).logits[0]
    ours = our_logits(arguments.folder, ids)
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()

    torch.manual_seed(0)
    generated = model.generate(prompt, max_new_tokens=16)[0, len(ids) :].tolist()
    generation = model.generation_config
    print(f"generated   {generated}")
    print(f"as text     {tokenizer.decode(generated)!r}")
    print(f"begin, end  {generation.bos_token_id}, {generation.eos_token_id}; top_p {generation.top_p}, top_k {generation.top_k}")
    print(f"logits      {tuple(ours.shape)}, relative error {error:.1e}")
    if not error <= arguments.tolerance:
        raise SystemExit(f"the logits differ by more than {arguments.tolerance}")


if __name__ == "__main__":
    main()
