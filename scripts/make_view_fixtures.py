#!/usr/bin/env python3
"""Write documents and, for every view, the rows that are to come of them: tokenize/shards/tests/fixtures/views.json.

    scripts/make_view_fixtures.py

A row is put together as a string, by the definition of its view: markers spelled out, an audio token a character, as in the
published datasets. Its ids are those that `tokenizers` makes of the string, with the markers and all audio characters as
added tokens of a Llama 3 or Qwen3 tokenizer (those of make_text_fixtures.py). Nothing here reads the program's own code or
output. Made with Python 3.11 and tokenizers 0.23.3.
"""

import itertools
import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tokenize" / "shards" / "tests" / "fixtures"
FAMILIES = ["llama3", "qwen3"]

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
TEXT_START, TEXT_END = "<|text_start|>", "<|text_end|>"
AUDIO_START, AUDIO_END = "<|audio_start|>", "<|audio_end|>"
MARKERS = [BOS, EOS, TEXT_START, TEXT_END, AUDIO_START, AUDIO_END]

STORED, SIZE = 8, 2048  # codebooks of a frame, codes of a codebook
ASKED = [1, 3, 8]  # of how many codebooks rows are made
AUDIO_CHARACTERS = [chr(0xE000 + at) for at in range(STORED * SIZE)]

VIEWS = ["both", "text-first", "audio-first", "tts", "asr", "acoustic", "semantic", "text", "cvss-1", "cvss-2", "sft"]
RNG = random.Random("view fixtures")


# Documents

def frames(count: int) -> list[list[int]]:
    return [[RNG.randrange(SIZE) for _ in range(STORED)] for _ in range(count)]


def segment(text: str = "", count: int = 0, speaker: int | None = None, codes: list[list[int]] | None = None) -> dict:
    return {"text": text, "frames": codes or frames(count), "speaker": speaker}


def documents() -> dict[str, list[dict]]:
    # the ends of each codebook; codes of the fourth that are U+FEFF, U+FFFE, U+FFFF, a full-width comma, and what NFC alters
    odd_codes = [[0] * STORED, [SIZE - 1] * STORED]
    odd_codes += [[1, 2, 3, ord(character) - 0xF800, 4, 5, 6, 7] for character in "\ufeff\ufffe\uffff\uff0c\uf900\ufb1d"]
    return {
        "utterance": [segment("he hoped there would be stew for dinner", 3)],
        "odd-codes": [segment("Every end of the range.", codes=odd_codes)],
        "one-narrator": [segment("42 is the answer,", 2), segment("'tis said.", 1), segment("[Chapter] two", 1)],
        # in order of appearance 7 is 0, 2 is 1, the unknown is 2, 11 is 3, and 5, who has no text, is 4 before 9, who is 5
        "conversation": [
            segment("Good morning, Ada.", 1, 7), segment("Morning!", 1, 2), segment("", 2, 7), segment("Who's there?", 0, None),
            segment("It's 10 o'clock.", 1, 2), segment("[laughs]", 1, 11), segment("", 1, 5), segment("...and you?", 1, 9),
            segment("Fine.", 1, 7),
        ],
        "languages": [
            segment("Où êtes-vous passé ? Ça m'a étonné.", 1, 0), segment("今天天气很好。", 1, 1),
            # decomposed, so that NFC composes it
            segment("Cafe\u0301 A\u030angstro\u0308m \u1112\u1161\u11ab", 1, 0),
            # would compose with the `>` of the marker before it
            segment("\u0338not equal", 1, 1),
            segment("สวัสดีครับ مرحبا नमस्ते", 1, 0), segment("👩‍👩‍👧 \u00a0\u2003 १२३ 12345678", 1, 2),
        ],
        "recording": [segment("", 2, 0), segment("", 1, 1)],
        "page": [segment("A heading\n\n  Indented, \"quoted\" -- 1,234.5 <think>twice</think>.\r\n\tDon't WE'LL\n\n\nThe end")],
        "verses": [segment("Roses are red", 0, 1), segment(" violets are blue. ", 0, 3), segment("So?", 0, 1)],
        "translation": [
            segment("", 2), segment("<language>es</language>¿Dónde está la biblioteca?"),
            segment("<language>en</language>Where is the library?"), segment("", 1),
        ],
        "task": [segment("Translate to German: good night"), segment("Gute Nacht")],
        "spoken-task": [segment("Say it again, and slower.", 1), segment("Here", 1), segment("", 1), segment("it is.", 0)],
        "no-segment": [],
        # both spell what is no text, so that no string stands for them
        "marker-in-text": [segment("It says <|audio_end|><|end_of_text|>, it does.", 1), segment("So it does.", 1)],
        "audio-character-in-text": [segment("你好，世界\ue000", 1), segment("!", 1)],
        # the instruction is the first speaker's, up to the other's first segment, or to one whose speaker is not known
        "spoken-question": [segment("", 2, 0), segment("Answer in a word.", 0, 0), segment("Paris.", 0, 1),
                            segment("", 1, 1)],
        "asked-again": [segment("Again:", 1, 4), segment("", 1, 4), segment("no", 0), segment("yes", 0, 4)],
        # an instruction without a response
        "monologue": [segment("To whom", 1, 2), segment("do I speak?", 0, 2)],
    }


# Views: a row is a list of pieces, each a marker, a text or an audio character

def said(segment: dict) -> list[str]:
    return [TEXT_START, segment["text"], TEXT_END] if segment["text"] else []


def heard(segment: dict, codebooks: int) -> list[str]:
    characters = [chr(0xE000 + codebook * SIZE + frame[codebook])
                  for frame in segment["frames"] for codebook in range(codebooks)]
    return [AUDIO_START, *characters, AUDIO_END] if characters else []


def joined(parts: list[list[str]]) -> list[str]:
    return [BOS, *(piece for part in parts for piece in part), EOS]


def text_first(document: list[dict], codebooks: int) -> list[str]:
    return joined([said(s) + heard(s, codebooks) for s in document])


def audio_first(document: list[dict], codebooks: int) -> list[str]:
    return joined([heard(s, codebooks) + said(s) for s in document])


def numbered(document: list[dict]) -> list[dict]:
    """With each text behind the number of its speaker, who are numbered in order of first appearance."""
    order = list(dict.fromkeys(s["speaker"] for s in document))
    return [s | {"text": f"[{order.index(s['speaker'])}]{s['text']}"} if s["text"] else s for s in document]


def fits(view: str, document: list[dict]) -> bool:
    """Whether a view can be made of a document."""
    kinds = [(bool(s["text"]), bool(s["frames"])) for s in document]
    sound, text = (False, True), (True, False)
    match view:
        case "cvss-1":
            return kinds == [sound, text, text, sound]
        case "cvss-2":
            return sum(has_sound for _, has_sound in kinds) == 2
        case "sft":
            return instructed(document) < len(document)
    return True


def rows(view: str, document: list[dict], codebooks: int) -> list[tuple[str, list[str]]]:
    """The rows of a document, each with what the published datasets add to its id; none if it has nothing that the view shows."""
    has_text, has_sound = any(s["text"] for s in document), any(s["frames"] for s in document)
    if not has_text and not has_sound:
        return []
    first, second = ("_type1", text_first(document, codebooks)), ("_type2", audio_first(document, codebooks))
    match view:
        case "both":
            return [first, second] if has_text and has_sound else [first]
        case "text-first":
            return [first]
        case "audio-first":
            return [second]
        case "asr":
            return [("", audio_first(document, codebooks))]
        case "tts":
            return [("", text_first(numbered(document), codebooks))]
        case "acoustic" | "cvss-2":
            return [("", joined([heard(s, codebooks) for s in document]))] if has_sound else []
        case "semantic":
            return [("", joined([heard(s, 1) for s in document]))] if has_sound else []
        case "text":
            return [("", [BOS, "\n".join(s["text"] for s in document if s["text"]), EOS])] if has_text else []
        case "cvss-1":
            source, source_text, target_text, target = document
            parts = [heard(source, codebooks), said(source_text), said(target_text), heard(target, codebooks)]
            return [("", joined(parts))]
        case "sft":
            return [("", text_first(document, codebooks))]


def instructed(document: list[dict]) -> int:
    """How many segments are the instruction: the first, and those of its speaker that follow it, if that is known."""
    speakers = [s["speaker"] for s in document]
    first = [list(run) for _, run in itertools.groupby(speakers)][:1]
    return len(first[0]) if first and first[0][0] is not None else 1


def instruction(document: list[dict], codebooks: int) -> list[str]:
    """The pieces at the begin of an sft row that have no loss."""
    return joined([said(s) + heard(s, codebooks) for s in document[:instructed(document)]])[:-1]


# Ids

class Family:
    def __init__(self, name: str):
        base = (FIXTURES / "text" / f"{name}.json").read_text().replace('"<|endoftext|>"', f'"{EOS}"')
        self.text = Tokenizer.from_str(base)
        self.text.encode_special_tokens = True  # what a text spells is text
        self.whole = Tokenizer.from_str(base)
        self.whole.add_special_tokens(MARKERS)
        self.whole.add_tokens([AddedToken(character, normalized=False) for character in AUDIO_CHARACTERS])

    def of_string(self, pieces: list[str]) -> list[int]:
        return self.whole.encode("".join(pieces), add_special_tokens=False).ids

    def of_pieces(self, pieces: list[str]) -> list[int]:
        ids = []
        for piece in pieces:
            ids += self.text.encode(piece, add_special_tokens=False).ids if is_text(piece) else [self.whole.token_to_id(piece)]
        return ids


def is_audio(character: str) -> bool:
    return AUDIO_CHARACTERS[0] <= character <= AUDIO_CHARACTERS[-1]


def is_text(piece: str) -> bool:
    return piece not in MARKERS and not (len(piece) == 1 and is_audio(piece))


def is_spelled(pieces: list[str]) -> bool:
    """Whether a row's string stands for its ids: no text has in it what a tokenizer takes for a marker or audio."""
    texts = "".join(filter(is_text, pieces))
    return not any(marker in texts for marker in MARKERS) and not any(map(is_audio, texts))


def golden(pieces: list[str], families: dict[str, Family]) -> dict:
    """A row as a string, if that stands for it, and as ids."""
    ids = {name: family.of_pieces(pieces) for name, family in families.items()}
    if not is_spelled(pieces):
        return {"text": None, "ids": ids}
    assert ids == {name: family.of_string(pieces) for name, family in families.items()}
    return {"text": "".join(pieces), "ids": ids}


def loss(document: list[dict], codebooks: int, row: dict, families: dict[str, Family]) -> dict[str, str]:
    """A digit for each id of an sft row: 0 to the end of the instruction, 1 for the response and the end of text."""
    without = instruction(document, codebooks)
    out = {}
    for name, family in families.items():
        ids, prefix = row["ids"][name], family.of_pieces(without)
        assert ids[:len(prefix)] == prefix
        out[name] = "0" * len(prefix) + "1" * (len(ids) - len(prefix))
    return out


def lines(items: list[dict]) -> str:
    return "[\n " + ",\n ".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"


def main() -> None:
    families = {name: Family(name) for name in FAMILIES}
    all_documents = documents()
    distinct, cases = [], []
    for name, document in all_documents.items():
        for view, codebooks in itertools.product(VIEWS, ASKED):
            case = {"document": name, "view": view, "codebooks": codebooks, "rows": None}
            cases.append(case)
            if not fits(view, document):
                continue
            case["rows"] = []
            for suffix, pieces in rows(view, document, codebooks):
                row = golden(pieces, families)
                if row not in distinct:
                    distinct.append(row)
                case["rows"].append({"suffix": suffix, "row": distinct.index(row)})
                if view == "sft":
                    case["rows"][-1]["loss"] = loss(document, codebooks, row, families)
    listed = [{"id": name, "segments": segments} for name, segments in all_documents.items()]
    path = FIXTURES / "views.json"
    path.write_text(f'{{"documents":{lines(listed)},\n"rows":{lines(distinct)},\n"cases":{lines(cases)}}}\n')
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {len(distinct)} rows, {len(cases)} cases")


if __name__ == "__main__":
    main()
