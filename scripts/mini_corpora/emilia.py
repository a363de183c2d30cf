"""Emilia: {Emilia,Emilia-YODAS}/{LANG}/{LANG}-B000000.tar with a pair {id}.mp3, {id}.json an utterance."""

import dataclasses
import json
import pathlib

from . import clips, files
from .expected import Dataset, segment, speakers, transcript_fault, write

RATE_HZ = 24_000


@dataclasses.dataclass
class Utterance:
    """One pair. `fault` is what is wrong with the recording or the pair; `parts` is the order in the archive."""

    name: str
    speaker: str
    mp3: bytes
    json: bytes
    text: object
    fault: str | None = None
    parts: str = "mj"

    @property
    def conversation(self) -> str:
        return self.name.rsplit("_W", 1)[0]


def utterance(name: str, clip_name: str, secs: float, speaker: str, text: object = None, kind: str = "mp3",
              **changes: object) -> Utterance:
    """An utterance whose json is as published; `text` replaces the clip's, `declared` its duration."""
    piece = clips.clip(clip_name, RATE_HZ, secs)
    text = piece.text if text is None else text
    lang, conversation = name[:2], name.rsplit("_W", 1)[0]
    batch = "_".join(conversation.split("_")[:2])
    wav = f"{batch}/{conversation}/mp3/{name}.mp3"
    record = {"id": name, "wav": wav, "text": text, "duration": changes.pop("declared", round(piece.secs, 3)),
              "speaker": speaker, "language": lang.lower(), "dnsmos": 3.2927, "phone_count": len(piece.text)}
    mp3 = changes.pop("mp3", None) or piece.encode(kind)
    record_json = changes.pop("json", None) or json.dumps(record, ensure_ascii=False).encode("utf-8")
    return Utterance(name, speaker, mp3, record_json, text, **changes)


def monologues(lang: str, batch: int, story: int) -> list[Utterance]:
    """Two recordings by one speaker each, trimmed nowhere, pairs in both orders."""
    first, second = (f"{lang}_B{batch:05}_S{i:05}" for i in (story, story + 7))
    low = lang.lower()
    say = lambda i: f" {clips.clip(f'{low}-{story}-{i}', RATE_HZ, 0.5).text} "
    return [
        utterance(f"{first}_W000000", f"{low}-{story}-1", 0.8, first, say(1)),
        utterance(f"{first}_W000001", f"{low}-{story}-2", 0.6, first, say(2), kind="mp3-vbr", parts="jm"),
        utterance(f"{second}_W000003", f"{low}-{story}-3", 0.7, second, f"{say(3)}\n", kind="mp3-vbr"),
    ]


def interleaved() -> list[Utterance]:
    """Two conversations whose utterances alternate, out of order; in the second, SPEAKER_01 speaks first."""
    one, two = "EN_-0x_WyZ12-a", "EN_k3-_Q8v0_00"
    return [
        utterance(f"{one}_W000002", "en-1-2", 0.6, "SPEAKER_00"),
        utterance(f"{two}_W000000", "en-2-0", 0.7, "SPEAKER_01", kind="mp3-vbr"),
        utterance(f"{one}_W000000", "en-1-0", 0.9, "SPEAKER_00", parts="jm"),
        utterance(f"{two}_W000010", "en-2-2", 0.6, "SPEAKER_01"),
        utterance(f"{one}_W000001", "en-1-1", 0.5, "SPEAKER_01", kind="mp3-vbr"),
        utterance(f"{two}_W000009", "en-2-1", 0.5, "SPEAKER_00", parts="jm"),
    ]


def faulty() -> list[Utterance]:
    """A conversation that loses most of its utterances, one that loses all, and whole ones around them."""
    torn, lost, whole = "EN_torn-_tlk01", "EN_all-_lost02", "EN_whole_tlk-3"
    return [
        utterance(f"{torn}_W000000", "en-3-0", 0.6, "SPEAKER_00"),
        utterance(f"{torn}_W000001", "en-3-1", 0.4, "SPEAKER_00", fault="missing-text", parts="m"),
        utterance(f"{torn}_W000002", "en-3-2", 0.4, "SPEAKER_00", fault="missing-audio", parts="j"),
        utterance(f"{torn}_W000003", "en-3-3", 0.4, "SPEAKER_00", text=12),
        utterance(f"{torn}_W000004", "en-0-1", 0.4, "SPEAKER_00", text="  \n"),
        utterance(f"{torn}_W000005", "en-0-2", 0.6, "SPEAKER_01"),
        utterance(f"{torn}_W000006", "en-0-3", 0.4, "SPEAKER_01", declared=5.0, fault="duration"),
        utterance(f"{lost}_W000000", "en-1-3", 0.4, "SPEAKER_00", mp3=files.damaged_sound(), fault="not-audio"),
        utterance(f"{lost}_W000001", "en-1-3", 0.4, "SPEAKER_00", json=b'{"id": "EN_all-_lost02_W000001", "te',
                  fault="bad-json", parts="jm"),
        utterance(f"{whole}_W000000", "en-2-3", 0.6, "SPEAKER_00"),
    ]


def archives() -> dict[str, list[Utterance]]:
    return {
        "Emilia/EN/EN-B000000.tar": monologues("EN", 0, 0),
        "Emilia/EN/EN-B000001.tar": monologues("EN", 1, 1),
        "Emilia/DE/DE-B000000.tar": monologues("DE", 0, 2),
        "Emilia/DE/DE-B000001.tar": monologues("DE", 1, 3),
        "Emilia-YODAS/EN/EN-B000000.tar": interleaved(),
        "Emilia-YODAS/EN/EN-B000001.tar": faulty(),
    }


def members(utterances: list[Utterance]) -> list[tuple[str, bytes]]:
    files_of = {"m": lambda u: (f"{u.name}.mp3", u.mp3), "j": lambda u: (f"{u.name}.json", u.json)}
    return [files_of[part](u) for u in utterances for part in u.parts]


def expect(dataset: Dataset, unit: str, utterances: list[Utterance]) -> None:
    lang = unit.split("/")[1].lower()
    for conversation in sorted({u.conversation for u in utterances}):
        kept = []
        for u in sorted((u for u in utterances if u.conversation == conversation), key=lambda u: u.name):
            reason = u.fault or transcript_fault(u.text)
            if reason:
                dataset.skip(unit, u.name, reason)
            else:
                kept.append(u)
        numbers = speakers([u.speaker for u in kept])
        dataset.document(conversation, lang, unit, [
            segment(u.text.strip(), {"path": unit, "member": f"{u.name}.mp3"}, speaker=number)
            for u, number in zip(kept, numbers)])


def make(root: pathlib.Path) -> None:
    datasets = {("Emilia", "EN"): Dataset("emilia-en"), ("Emilia", "DE"): Dataset("emilia-de"),
                ("Emilia-YODAS", "EN"): Dataset("emilia-yodas-en")}
    for unit, utterances in archives().items():
        files.write(root / unit, files.tar(members(utterances), pax="YODAS" in unit))
        expect(datasets[tuple(unit.split("/")[:2])], unit, utterances)
    write(root, list(datasets.values()))
