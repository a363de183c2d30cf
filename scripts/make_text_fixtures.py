#!/usr/bin/env python3
"""Train the small tokenizers on which the fast text encoder is held against `tokenizers`.

    scripts/make_text_fixtures.py [tokenize/shards/tests/fixtures/text]

One of each family: normalizer, pre-tokenizer, model options, post-processor and added tokens are the published ones of
Llama 3, Qwen3 and GPT-2; only the vocabulary is small, trained on languages.txt, Python's own help pages and
scripts/speech_text.py. Needs the package tokenizers (0.23.3); another version of Python has other help pages.
"""

import json
import pathlib
import pydoc_data.topics
import random
import sys

import speech_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 2_000
GENERATED_SENTENCES = 1_000
LANGUAGE_REPEATS = 20  # the few sentences of each language weigh against the English help pages
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tokenize" / "shards" / "tests" / "fixtures" / "text"

# Both as published; they differ in how many digits a word has.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
                "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
                "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_TEXT = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
             "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]


def fixture_texts() -> list[str]:
    rng = random.Random("text fixtures")
    lines = (FOLDER / "languages.txt").read_text().splitlines()
    languages = list(speech_text.SLOTS)
    generated = [speech_text.generated_sentence(rng.choice(languages), rng) for _ in range(GENERATED_SENTENCES)]
    return lines * LANGUAGE_REPEATS + generated + list(pydoc_data.topics.topics.values())


def split(digits: str) -> pre_tokenizers.PreTokenizer:
    regex = Regex(SPLIT.replace("DIGITS", digits))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(regex, "isolated"), byte_level])


def train(tokenizer: Tokenizer, texts: list[str], vocabulary: int = VOCABULARY, special: tuple[str, ...] = ()) -> None:
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(special), initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)


def llama3() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split(r"\p{N}{1,3}")
    train(tokenizer, fixture_texts())
    special = ["<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{at}|>" for at in range(8))]
    tokenizer.add_special_tokens(special)
    template = processors.TemplateProcessing(
        "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        [("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return tokenizer


def qwen3() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split(r"\p{N}")
    train(tokenizer, fixture_texts())
    tokenizer.add_special_tokens(QWEN_SPECIAL)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in QWEN_TEXT])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return tokenizer


def gpt2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    train(tokenizer, fixture_texts(), special=("<|endoftext|>",))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def main() -> None:
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    out.mkdir(parents=True, exist_ok=True)
    for family in (llama3, qwen3, gpt2):
        text = json.dumps(json.loads(family().to_str()), ensure_ascii=False, separators=(",", ":"))
        (out / f"{family.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
