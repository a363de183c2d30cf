//! Recordings in unusual but sound formats are accepted, and the format leaves no trace in the codes.

use std::fs;

use shards::Document;
use tests::{Pcm, TokenizeJob, run_ok, tone, write_wav};

/// Tokenizes the job's input, none of which may be skipped; gives the codes of each document, in id order.
fn codes(job: &TokenizeJob) -> Vec<(String, Vec<u16>)> {
    run_ok(job.command().args(["--max-bad", "0"]));
    let codes = |document: Document| {
        (
            document.id,
            document.segments.into_iter().next().unwrap().codes,
        )
    };
    job.documents().into_values().map(codes).collect()
}

/// A tone whose samples are multiples of 1/128, so that 8 bits hold them exactly.
fn coarse_tone() -> Vec<f32> {
    tone(1.0, 16_000)
        .iter()
        .map(|sample| (sample * 128.0).round() / 128.0)
        .collect()
}

#[test]
fn the_sample_format_does_not_matter() {
    let job = TokenizeJob::new();
    let samples = coarse_tone();
    for (name, pcm) in [
        ("8", Pcm::Bits(8)),
        ("16", Pcm::Bits(16)),
        ("24", Pcm::Bits(24)),
        ("32", Pcm::Bits(32)),
        ("float", Pcm::Float),
    ] {
        write_wav(
            &job.input().join(name).with_extension("wav"),
            &samples,
            16_000,
            1,
            pcm,
        );
    }
    let codes = codes(&job);
    assert_eq!(codes.len(), 5);
    // 1 s is 12.5 frames of 8 codes
    assert_eq!(codes[0].1.len(), 13 * 8);
    for (name, other) in &codes[1..] {
        assert_eq!(other, &codes[0].1, "{name} bits against {}", codes[0].0);
    }
}

#[test]
fn channels_are_averaged() {
    let job = TokenizeJob::new();
    let mono = coarse_tone();
    write_wav(&job.input().join("mono.wav"), &mono, 16_000, 1, Pcm::Float);
    // six channels whose mean is the mono recording, although no channel is
    let shares = [3.0, -1.0, 2.0, 0.0, 1.5, 0.5];
    let six: Vec<f32> = mono
        .iter()
        .flat_map(|sample| shares.map(|share| share * sample))
        .collect();
    write_wav(&job.input().join("six.wav"), &six, 16_000, 6, Pcm::Float);
    let codes = codes(&job);
    assert_eq!(codes[0].1, codes[1].1);
}

#[test]
fn extreme_rates_are_resampled() {
    for rate_hz in [8_000, 44_100, 384_000] {
        let job = TokenizeJob::new();
        write_wav(
            &job.input().join("other.wav"),
            &tone(1.0, rate_hz),
            rate_hz,
            1,
            Pcm::Bits(16),
        );
        write_wav(
            &job.input().join("same.wav"),
            &tone(1.0, 24_000),
            24_000,
            1,
            Pcm::Bits(16),
        );
        let codes = codes(&job);
        let [(_, other), (_, same)] = &codes[..] else {
            panic!("{codes:?}")
        };
        assert_eq!(other.len(), same.len(), "{rate_hz} Hz");
        // the tone is steady: away from the ends, where resampling differs, its coarsest code is the same
        let steady = |codes: &[u16]| {
            codes
                .chunks(8)
                .map(|frame| frame[0])
                .skip(2)
                .take(9)
                .collect::<Vec<_>>()
        };
        assert_eq!(steady(other), steady(same), "{rate_hz} Hz");
    }
}

#[test]
fn capital_extensions_and_unicode_names_are_found() {
    let job = TokenizeJob::new();
    write_wav(
        &job.input().join("Grüße 你好.WAV"),
        &tone(0.5, 16_000),
        16_000,
        1,
        Pcm::Bits(16),
    );
    fs::write(job.input().join("Grüße 你好.txt"), "\u{feff} hello \r\n").unwrap();
    run_ok(&mut job.command());
    let documents = job.documents();
    assert_eq!(documents["Grüße 你好"].segments[0].text, "hello");
}
