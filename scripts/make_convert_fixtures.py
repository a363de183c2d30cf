"""Makes tests/fixtures/convert: a tiny Qwen3 as the hub has them, which `convert` imports, exports and extends.

    python scripts/make_convert_fixtures.py        # needs torch, transformers, tokenizers, safetensors

The model is stored as such models are: bfloat16, in shards with an index, a tied head, and a matrix with more rows than the
tokenizer has ids. What it must become is made by torch and transformers.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3Config, Qwen3ForCausalLM

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "convert"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = 20
PADDED_ROWS = 288
TEXTS = ["the river is cold and the morning is bright", "a good morning to the river and to the cold"]
PROMPT = "the cold river"


def tokenizer() -> Tokenizer:
    """Byte-level BPE with Qwen's special tokens after the merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + MERGES, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return made


def model() -> Qwen3ForCausalLM:
    """Weights that bfloat16 holds exactly, large enough that every one of them matters to the logits."""
    config = Qwen3Config(
        vocab_size=PADDED_ROWS, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-6, tie_word_embeddings=True, max_position_embeddings=512,
        rope_parameters=dict(rope_type="default", rope_theta=1e6), dtype="bfloat16",
    )  # fmt: skip
    config._attn_implementation = "eager"
    made = Qwen3ForCausalLM(config).to(torch.bfloat16)
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.8 + 0.1 * noise if "norm" in name else 0.2 * noise)
    return made.eval()


def main() -> None:
    torch.set_num_threads(1)
    base = OUT / "base"
    base.mkdir(parents=True, exist_ok=True)
    text, qwen3 = tokenizer(), model()
    text.save(str(base / "tokenizer.json"))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", eos_token=SPECIAL[0], model_max_length=512)
    (base / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    qwen3.save_pretrained(base, max_shard_size="12KB")

    # what it is in float32, byte for byte as safetensors' own code writes it
    # (loaded anew: a model that was bfloat16 once has rounded RoPE frequencies)
    wide = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    tensors = {name: parameter.detach().clone() for name, parameter in wide.named_parameters()}
    save_file(tensors, OUT / "float32.safetensors", metadata={"format": "pt"})
    ids = torch.tensor([text.encode(PROMPT).ids])
    rows = text.get_vocab_size()
    with torch.no_grad():
        expected = dict(
            ids=ids.to(torch.int32),
            logits=wide(ids).logits[0].contiguous(),
            mean_row=wide.model.embed_tokens.weight[:rows].double().mean(0).float(),
        )
    save_file(expected, OUT / "expected.safetensors")
    print(f"{rows} ids, {PADDED_ROWS} rows, {ids.shape[1]} tokens, {len(tensors)} tensors")
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes in {OUT}")


if __name__ == "__main__":
    main()
