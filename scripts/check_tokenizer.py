#!/usr/bin/env python3
"""Checks that transformers reads a tokenizer folder the way Timbre does.

    scripts/check_tokenizer.py DIR

Loads DIR with transformers.AutoTokenizer and compares the id of every audio character and marker with audio_vocab.json,
encodes all audio characters as one string, and takes a text there and back. Exits 1 at the first kind of mismatch.
Needs the package `transformers`.
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

FIRST_AUDIO_CHAR = 0xE000
MARKERS = {
    "bos": "<|begin_of_text|>",
    "eos": "<|end_of_text|>",
    "text_start": "<|text_start|>",
    "text_end": "<|text_end|>",
    "audio_start": "<|audio_start|>",
    "audio_end": "<|audio_end|>",
}
TEXT = "Hello, world! It's 7 o'clock."


def mismatches(folder: Path):
    """Yields one line for each way in which transformers disagrees with audio_vocab.json."""
    layout = json.loads((folder / "audio_vocab.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) != layout["vocab_size"]:
        yield f"{len(tokenizer)} tokens, expected {layout['vocab_size']}"
    for key, token in MARKERS.items():
        found = tokenizer.encode(token, add_special_tokens=False)
        if found != [layout[key]]:
            yield f"{token} is {found}, expected [{layout[key]}]"
    if (tokenizer.bos_token_id, tokenizer.eos_token_id) != (layout["bos"], layout["eos"]):
        yield f"bos and eos are {tokenizer.bos_token_id} and {tokenizer.eos_token_id}"

    expected = list(range(layout["audio_base"], layout["vocab_size"]))
    if len(expected) != layout["codebooks"] * layout["codebook_size"]:
        yield f"{len(expected)} audio ids for {layout['codebooks']} codebooks of {layout['codebook_size']}"
    characters = [chr(FIRST_AUDIO_CHAR + offset) for offset in range(len(expected))]
    alone = [tokenizer.encode(character, add_special_tokens=False) for character in characters]
    wrong = [c for c, found, id in zip(characters, alone, expected) if found != [id]]
    if wrong:
        yield f"{len(wrong)} audio characters have other ids, the first is U+{ord(wrong[0]):04X}"
    if tokenizer.encode("".join(characters), add_special_tokens=False) != expected:
        yield "the audio characters in one string have other ids than alone"
    if tokenizer.decode(expected) != "".join(characters):
        yield "the audio ids do not decode to their characters"

    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    if tokenizer.decode(ids) != TEXT or max(ids) >= layout["audio_base"]:
        yield f"{TEXT!r} comes back as {tokenizer.decode(ids)!r} from {ids}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    problems = list(mismatches(folder))
    for problem in problems:
        print(f"{folder}: {problem}")
    if problems:
        sys.exit(1)
    print(f"{folder}: transformers gives every marker and audio character the id of audio_vocab.json")


if __name__ == "__main__":
    main()
