#!/usr/bin/env python3
"""Train the small text tokenizer that the program carries: byte-level BPE, 1,024 entries.

    scripts/make_tokenizer.py [tokenize/assets/tokenizer.json]

It is trained on scripts/speech_text.py, so that it fits the bundled corpus; being byte-level it can write any text.
It has no normalizer: what is encoded is decoded unchanged. Needs the Python package tokenizers.
"""

import pathlib
import random
import sys

import speech_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 1_024
GENERATED_SENTENCES = 2_000
STORY_REPEATS = 20  # the corpus's own words weigh more than the generated ones


def sentences() -> list[str]:
    rng = random.Random("tokenizer")
    stories = [text for documents in speech_text.STORIES.values() for document in documents for text in document]
    languages = list(speech_text.SLOTS)
    generated = [speech_text.generated_sentence(rng.choice(languages), rng) for _ in range(GENERATED_SENTENCES)]
    return stories * STORY_REPEATS + generated


def main() -> None:
    default = pathlib.Path(__file__).resolve().parent.parent / "tokenize" / "assets" / "tokenizer.json"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out))


if __name__ == "__main__":
    main()
