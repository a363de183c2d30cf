"""The published `*-mm-pretrain` parquet: id, split, text; a document a row, once text first and once audio first.

An audio token is the character U+E000 + codebook * 2048 + code, frame-major.
"""

import pathlib
import random
import unicodedata

from . import files
from .expected import Dataset, segment, write
from .read_speech import STRING

CODEBOOKS, CODEBOOK_SIZE, FIRST = 8, 2048, 0xE000
COLUMNS = {"id": STRING, "split": STRING, "text": STRING}
# The byte order mark, a noncharacter, and an ideograph that NFC replaces: all in codebook 3.
TRAPS = [(0xFEFF - FIRST) % CODEBOOK_SIZE, (0xFFFF - FIRST) % CODEBOOK_SIZE, (0xF900 - FIRST) % CODEBOOK_SIZE]

Utterance = tuple[str, list[int]]


def codes(seed: str, frames: int, third: list[int] = ()) -> list[int]:
    """Random codes, frame-major; `third` are codebook 3's in the first frames."""
    rng = random.Random(f"pretokenized-{seed}")
    drawn = [rng.randrange(CODEBOOK_SIZE) for _ in range(frames * CODEBOOKS)]
    for frame, code in enumerate(third):
        drawn[frame * CODEBOOKS + 3] = code
    return drawn


def characters(sound: list[int]) -> str:
    return "".join(chr(FIRST + i % CODEBOOKS * CODEBOOK_SIZE + code) for i, code in enumerate(sound))


def row(name: str, split: str, kind: int, utterances: list[Utterance]) -> dict:
    parts = []
    for text, sound in utterances:
        both = [f"<|text_start|>{text}<|text_end|>", f"<|audio_start|>{characters(sound)}<|audio_end|>"]
        parts += both if kind == 1 else both[::-1]
    return {"id": f"{name}_type{kind}", "split": split, "text": f"<|begin_of_text|>{''.join(parts)}<|end_of_text|>"}


def changed(original: dict, text: str) -> dict:
    assert text != original["text"]
    return original | {"text": text}


def yodas(dataset: Dataset, unit: str, split: str) -> list[dict]:
    """One of the two files: pairs that are whole, and one of each fault."""
    number = int(unit[-9:-8])
    whole = [
        (f"Ymulti-_utt{number}", [("Good morning.", codes(f"a{number}", 5, TRAPS)),
                                  ("The bread is fresh.", codes(f"b{number}", 3)),
                                  ("Where is\nthe cat?", codes(f"c{number}", 4))]),
        (f"Ytype1_type{number}", [("An id with _type1 in the middle.", codes(f"d{number}", 2))]),
        (f"Yuntrimmed{number}", [(" It is warm. ", codes(f"e{number}", 3))]),
    ]
    rows = []
    for name, utterances in whole:
        rows += [row(name, split, 1, utterances), row(name, split, 2, utterances)]
        expect(dataset, unit, name, utterances)
    single = f"Yonly-type{number + 1}", [("Its twin is not there.", codes(f"f{number}", 3))]
    rows.append(row(single[0], split, number + 1, single[1]))
    expect(dataset, unit, *single)
    return rows + (first_faults if number == 0 else second_faults)(dataset, unit, split)


def first_faults(dataset: Dataset, unit: str, split: str) -> list[dict]:
    """A pair whose sounds differ, one whose texts differ, and a text without its end."""
    said, sound = "One of these is wrong.", codes("g", 3)
    other = sound[:-1] + [(sound[-1] + 1) % CODEBOOK_SIZE]
    rows = [row("Yother-code", split, 1, [(said, sound)]), row("Yother-code", split, 2, [(said, other)]),
            row("Yother-text", split, 1, [(said, sound)]), row("Yother-text", split, 2, [(said.upper(), sound)])]
    unclosed = row("Yunclosed-0", split, 1, [(said, sound)])
    rows.append(changed(unclosed, unclosed["text"].replace("<|audio_end|>", "")))
    for name, reason in [("Yother-code", "disagree"), ("Yother-text", "disagree"), ("Yunclosed-0_type1", "not-a-document")]:
        dataset.skip(unit, name, reason)
    return rows


def second_faults(dataset: Dataset, unit: str, split: str) -> list[dict]:
    """A row in which NFC replaced a character, one in which it swapped two, and one with a marker too many."""
    replaced = row("Ynormalized", split, 1, [("NFC replaces.", codes("h", 4, TRAPS))])
    # combining marks of classes 9 and 7, in codebooks 6 and 7: canonical order is the other way round
    marks = codes("i", 3, [0, 0, 0])
    marks[8 + 6 : 8 + 8] = [0x11046 - FIRST - 6 * CODEBOOK_SIZE, 0x1183A - FIRST - 7 * CODEBOOK_SIZE]
    swapped = row("Yreordered_", split, 2, [("NFC swaps.", marks)])
    twice = row("Ytwo-starts", split, 1, [("Too many.", codes("j", 2))])
    for name, reason in [("Ynormalized_type1", "altered-audio"), ("Yreordered__type2", "altered-audio"),
                         ("Ytwo-starts_type1", "not-a-document")]:
        dataset.skip(unit, name, reason)
    return [changed(replaced, unicodedata.normalize("NFC", replaced["text"])),
            changed(swapped, unicodedata.normalize("NFC", swapped["text"])),
            changed(twice, twice["text"].replace("<|text_start|>", "<|text_start|><|text_start|>"))]


def emilia(dataset: Dataset, unit: str, split: str) -> list[dict]:
    """A conversation and a single utterance, untrimmed as first published."""
    rows, stem = [], pathlib.PurePosixPath(unit).stem.replace("-", "_")
    for name, count in [(f"{stem}_S00000", 3), (f"{stem}_S00010", 1)]:
        utterances = [(f" Line {i + 1}. ", codes(f"{name}-{i}", 2 + i)) for i in range(count)]
        rows += [row(name, split, 1, utterances), row(name, split, 2, utterances)]
        expect(dataset, unit, name, utterances)
    return rows


def expect(dataset: Dataset, unit: str, name: str, utterances: list[Utterance]) -> None:
    dataset.document(name, None, unit, [segment(text.strip(), codes=sound) for text, sound in utterances])


def make(root: pathlib.Path) -> None:
    groups = [
        ("yodas2-en", "yodas2-mm-pretrain/en000", ["00000.parquet", "00001.parquet"], yodas, "en000/0000000{}"),
        ("emilia-en", "emilia-mm-pretrain/Emilia/EN", ["EN-B000000.parquet", "EN-B000001.parquet"], emilia, "Emilia/EN"),
    ]
    datasets = []
    for component, folder, names, rows_of, split in groups:
        dataset = Dataset(component, folder)
        for number, name in enumerate(names):
            files.parquet(root / folder / name, COLUMNS, rows_of(dataset, name, split.format(number)), rows_per_group=4)
        datasets.append(dataset)
    write(root, datasets)
