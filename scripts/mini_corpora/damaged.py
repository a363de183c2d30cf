"""Damaged inputs: what a broken download or a bad disk leaves. Each is a small corpus with one damaged file."""

import io
import json
import pathlib
import tarfile
import zlib

import zstandard

from . import emilia, files, nemotron, read_speech, yodas
from .expected import Dataset


class Case:
    """One damaged corpus: `reasons` are given, each at least once, for what is lost, and `lost` records are."""

    def __init__(self, name: str, dataset: Dataset, unit: str, reasons: list[str]):
        self.name, self.dataset, self.unit, self.reasons = name, dataset, unit, reasons
        self.whole: list[dict] = []
        self.lost: list[str] = []

    def sort(self, documents: list[dict], is_whole) -> None:
        for document in documents:
            if is_whole(document):
                self.whole.append(document)
            else:
                self.lost.append(document["id"])

    def as_json(self) -> dict:
        return {"case": self.name, "component": self.dataset.component, "damaged": self.unit, "reasons": self.reasons,
                "lost": self.lost, "documents": self.whole}


def members_before_end(data: bytes) -> set[str]:
    """Names of the files that lie whole in the beginning of an archive."""
    names, archive = set(), tarfile.open(fileobj=io.BytesIO(data), mode="r:", errorlevel=0)
    try:
        while (member := archive.next()) is not None:
            if member.isfile() and member.offset_data + member.size <= len(data):
                names.add(member.name)
    except tarfile.TarError:
        pass
    return names


def only_members(names: set[str]):
    return lambda document: all(s["audio"]["member"] in names for s in document["segments"])


def yodas_case(root: pathlib.Path, name: str, reasons: list[str], damage, whole) -> Case:
    """Three videos; `damage` changes the archive, `whole(archive)` names the members left."""
    unit, videos = "data/en000/audio/00000000.tar.gz", [
        yodas.speech("Yfirst-0000", [("en-0-1", 0.5)]), yodas.speech("Ymiddle-000", [("en-0-2", 0.5)]),
        yodas.speech("Ylast-00000", [("en-0-3", 0.5)])]
    case = Case(name, Dataset("yodas2-en"), unit, reasons)
    yodas.expect(case.dataset, unit, videos, "{}.wav", "en")
    archive = damage(files.tar([(f"{v.audio_id}.wav", v.wav) for v in videos]))
    files.write(root / name / unit, archive)
    files.write(root / name / unit.replace("/audio/", "/text/").replace(".tar.gz", ".json"), yodas.text_json(videos))
    case.sort(case.dataset.documents, only_members(whole(archive)))
    return case


def truncated_gz(archive: bytes) -> bytes:
    packed = files.gz(archive)
    return packed[: len(packed) * 6 // 10]


def inflated(packed: bytes) -> bytes:
    """What a damaged gzip file gives before it ends."""
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed)


def garbage_in_the_middle(archive: bytes) -> bytes:
    """The middle member is still there but no recording: its header and sound are overwritten."""
    start = archive.index(b"RIFF", archive.index(b"Ymiddle-000.wav"))
    return files.gz(archive[:start] + files.damaged_sound(2000) + archive[start + 2000 :])


def emilia_case(root: pathlib.Path, name: str, reasons: list[str], damage, whole) -> Case:
    unit = "Emilia/EN/EN-B000000.tar"
    names = {i: f"EN_B00000_S0000{i}" for i in (1, 2, 3)}
    utterances = [emilia.utterance(f"{name}_W000000", f"en-0-{i}", 0.6, name) for i, name in names.items()]
    case = Case(name, Dataset("emilia-en"), unit, reasons)
    emilia.expect(case.dataset, unit, utterances)
    archive = damage(files.tar(emilia.members(utterances)))
    files.write(root / name / unit, archive)
    case.sort(case.dataset.documents, only_members(whole(archive)))
    return case


def cut_in_member(archive: bytes) -> bytes:
    return archive[: archive.index(b"EN_B00000_S00002_W000000.mp3") + 512 + 700]


def bad_header(archive: bytes) -> bytes:
    """The second utterance's mp3 has a header whose checksum is wrong."""
    start = archive.index(b"EN_B00000_S00002_W000000.mp3")
    return archive[: start + 148] + b"9999999\0" + archive[start + 156 :]


def bad_frames(archive: bytes) -> bytes:
    """The second utterance's mp3 has zeros in the middle, over several frames."""
    start = archive.index(b"EN_B00000_S00002_W000000.mp3") + 512
    return archive[: start + 900] + bytes(700) + archive[start + 1600 :]


def parquet_case(root: pathlib.Path) -> Case:
    """LibriTTS-R's first file is cut short: without its footer nothing of it can be read."""
    name, scratch = "libritts-cut", root / "libritts-cut"
    dataset = read_speech.libritts(scratch)
    unit = "data/train.clean.100/train.clean.100-00000-of-00002.parquet"
    data = (scratch / unit).read_bytes()
    files.write(scratch / unit, data[: len(data) * 2 // 3])
    # the other file has a row without audio
    case = Case(name, dataset, unit, ["truncated", "missing-audio"])
    case.sort(dataset.documents, lambda document: document["unit"] != unit)
    return case


def nemotron_case(root: pathlib.Path, name: str, ending: str, pack, unpack) -> Case:
    unit = f"{nemotron.ROOT}/quality=high/kind=actual/kind2=actual/CC-MAIN-2013-20-part-00000.{ending}"
    # pages that do not compress away, so that the cut falls among them
    lines = [nemotron.published(i, " ".join(f"{(i * 7919 + j) ** 3 % 1000003}" for j in range(100))) for i in range(1, 31)]
    case = Case(name, Dataset("nemotron-hq_actual"), unit, ["truncated"])
    nemotron.expect(case.dataset, unit, lines)
    packed = pack(b"".join(files.json_line(line) for line in lines))
    packed = packed[: len(packed) * 6 // 10]
    files.write(root / name / unit, packed)
    complete = unpack(packed).count(b"\n")
    assert 0 < complete < len(lines), f"{name}: {complete} lines before the cut"
    case.sort(case.dataset.documents, lambda document: case.dataset.documents.index(document) < complete)
    return case


def unzstd(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed)


def make(root: pathlib.Path) -> None:
    everything = {f"EN_B00000_S0000{i}_W000000.mp3" for i in (1, 2, 3)}
    cases = [
        yodas_case(root, "yodas-truncated", ["truncated", "missing-audio"], truncated_gz,
                   lambda data: members_before_end(inflated(data))),
        yodas_case(root, "yodas-corrupt-member", ["not-audio"], garbage_in_the_middle,
                   lambda _: {"Yfirst-0000.wav", "Ylast-00000.wav"}),
        emilia_case(root, "emilia-truncated", ["truncated"], cut_in_member, members_before_end),
        emilia_case(root, "emilia-bad-header", ["corrupt"], bad_header,
                    lambda data: members_before_end(data[: data.index(b"EN_B00000_S00002_W000000.mp3")])),
        emilia_case(root, "emilia-bad-frames", ["corrupt"], bad_frames,
                    lambda _: everything - {"EN_B00000_S00002_W000000.mp3"}),
        parquet_case(root),
        nemotron_case(root, "nemotron-truncated-gz", "jsonl.gz", files.gz, inflated),
        nemotron_case(root, "nemotron-truncated-zstd", "jsonl.zstd", files.zstd, unzstd),
    ]
    value = {"cases": [case.as_json() for case in cases]}
    (root / "expected.json").write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
