#!/usr/bin/env python3
"""Synthesise the speech that the mel-RVQ codec is trained on.

    scripts/make_codec_speech.py DIR [--clips N]
    tokenize codec-train DIR --out tokenize/encodec-rs/assets/mel-rvq.safetensors

Writes DIR/00000-en.wav and so on: 24 kHz, mono, 16 bit. The voices are espeak-ng's; sox then changes level,
vocal-tract length (by resampling), room, tone, bandwidth and background noise, because a codebook fitted to one clean
synthesiser would fit nothing else. Clip i depends on i alone, so the same tools give the same bytes.
Needs espeak-ng and sox.
"""

import argparse
import multiprocessing
import pathlib
import random
import subprocess
import tempfile

import speech_text

RATE_HZ = 24_000
DEFAULT_CLIPS = 500  # about 110 minutes
VARIANTS = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt2", "klatt4",
            "Andy", "Annie", "Denis", "Gene", "Hugo", "Jacky", "Lee", "Mario", "Michael", "adam", "anika",
            "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "grandma", "grandpa",
            "gustave", "john", "linda", "miguel", "norbert", "pablo", "quincy", "rob", "shelby", "steph", "travis",
            "victor", "whisper", "zac"]


def synthesise(text: str, lang: str, rng: random.Random, out: pathlib.Path) -> None:
    """espeak-ng's reading of `text` in a random voice, at its own 22.05 kHz."""
    voice = f"{lang}+{rng.choice(VARIANTS)}"
    pitch, speed = rng.randint(20, 85), rng.randint(115, 210)
    subprocess.run(["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "-w", str(out), text], check=True)


def sox_effects(rng: random.Random) -> list[str]:
    """A random speaker, room and channel. Ends with the level, so that nothing clips afterwards."""
    effects = ["speed", f"{rng.uniform(0.85, 1.2):.3f}", "rate", "-h", str(RATE_HZ)]
    effects += ["pad", f"{rng.uniform(0.0, 0.3):.3f}", f"{rng.uniform(0.0, 0.3):.3f}", "gain", "-n", "-12"]
    if rng.random() < 0.7:
        effects += ["bass", f"{rng.uniform(-8, 6):.1f}", "treble", f"{rng.uniform(-8, 8):.1f}"]
    if rng.random() < 0.5:
        effects += ["reverb", str(rng.randint(5, 45)), str(rng.randint(30, 80)), str(rng.randint(10, 70))]
    bandwidth_hz = rng.choice([None, None, 7_800, 7_800, 7_800, 5_400, 3_900])
    if bandwidth_hz:
        effects += ["sinc", f"-{bandwidth_hz}"]
    return effects + ["gain", "-n", f"{rng.uniform(-20, -1):.1f}"]


def make_clip(job: tuple[int, pathlib.Path]) -> None:
    index, folder = job
    rng = random.Random(f"codec-speech-{index}")
    lang = speech_text.LANGUAGES[index % len(speech_text.LANGUAGES)]
    text = " ".join(speech_text.generated_sentence(lang, rng) for _ in range(2))
    with tempfile.TemporaryDirectory() as scratch:
        dry, wet = pathlib.Path(scratch, "dry.wav"), pathlib.Path(scratch, "wet.wav")
        synthesise(text, lang, rng, dry)
        # -R makes sox's dither and noise repeatable
        sox = ["sox", "-R", "-V1"]
        wav = ["-c", "1", "-b", "16"]
        subprocess.run([*sox, dry, *wav, wet, *sox_effects(rng)], check=True)
        clip = folder / f"{index:05}-{lang}.wav"
        if rng.random() < 0.5:
            noise_db, colour = rng.uniform(-65, -30), rng.choice(["pinknoise", "brownnoise", "whitenoise"])
            noise = f"|sox -R -V1 {wet} -p synth {colour} gain {noise_db:.1f}"
            subprocess.run([*sox, "-m", "-v", "1", wet, "-v", "1", noise, *wav, clip], check=True)
        else:
            clip.write_bytes(wet.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--clips", type=int, default=DEFAULT_CLIPS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool() as pool:
        pool.map(make_clip, [(index, arguments.folder) for index in range(arguments.clips)], chunksize=4)


if __name__ == "__main__":
    main()
