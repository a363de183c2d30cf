//! Headers, and every way in which an Ogg Opus can be broken.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{Decoded, Input, open};

fn fixture(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fs::read(fixtures.join(name)).unwrap()
}

fn decode(bytes: Vec<u8>) -> crate::Result<Decoded> {
    let input = Input::Bytes {
        name: "member.opus".to_owned(),
        data: bytes.into(),
    };
    open(&input, 48_000, 1)?.read_all()
}

/// Bytes of each page, headers included.
fn pages(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    while !file.is_empty() {
        let segments = usize::from(file[26]);
        let body: usize = file[27..27 + segments]
            .iter()
            .map(|&n| usize::from(n))
            .sum();
        let (page, rest) = file.split_at(27 + segments + body);
        pages.push(page.to_vec());
        file = rest;
    }
    pages
}

/// Writes the checksum anew: RFC 3533, polynomial 0x04c11db7 without reflection.
fn sign(page: &mut [u8]) {
    page[22..26].fill(0);
    let crc = page.iter().fold(0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    page[22..26].copy_from_slice(&crc.to_le_bytes());
}

fn head_of(fields: &[u8]) -> Result<Head> {
    Head::parse(&[b"OpusHead\x01", fields].concat())
}

#[test]
fn headers_of_every_family_are_understood_and_broken_ones_refused() {
    let head = head_of(&[2, 0x38, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let expected = Head {
        channels: 2,
        pre_skip: 312,
        gain: 1.0,
        streams: 1,
        coupled_streams: 1,
        mapping: vec![0, 1],
    };
    assert_eq!(head, expected);
    // -6 dB; three channels of two streams
    let head = head_of(&[3, 0, 0, 0, 0, 0, 0, 0, 0xfa, 1, 2, 1, 0, 2, 1]).unwrap();
    assert!((head.gain - 0.501_187).abs() < 1e-6, "{}", head.gain);
    assert_eq!((head.streams, head.coupled_streams), (2, 1));
    assert_eq!(head.mapping, [0, 2, 1]);
    for broken in [
        &[][..],
        &[2, 0x38, 1],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],          // no channels
        &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0],          // too many for family 0
        &[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0], // mapping cut off
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0], // ambisonics
    ] {
        assert!(head_of(broken).is_err(), "{broken:?}");
    }
    assert!(Head::parse(b"OpusTags\x01\x01\0\0\0\0\0\0\0\0\0").is_err());
}

#[test]
fn the_gain_of_the_header_is_applied() {
    let plain = decode(fixture("speech.opus")).unwrap().audio.samples;
    let mut louder = pages(&fixture("speech.opus"));
    louder[0][28 + 16..28 + 18].copy_from_slice(&(3i16 << 8).to_le_bytes());
    sign(&mut louder[0]);
    let louder = decode(louder.concat()).unwrap().audio.samples;
    assert_eq!(plain.len(), louder.len());
    let factor = 10f32.powf(3.0 / 20.0);
    for (plain, louder) in plain.iter().zip(&louder) {
        assert!((plain * factor - louder).abs() < 1e-6);
    }
}

#[test]
fn pre_skip_of_many_packets_is_dropped() {
    let plain = decode(fixture("speech.opus")).unwrap().audio.samples;
    let mut later = pages(&fixture("speech.opus"));
    later[0][28 + 10..28 + 12].copy_from_slice(&4_000u16.to_le_bytes());
    sign(&mut later[0]);
    let later = decode(later.concat()).unwrap().audio.samples;
    assert_eq!(later, plain[4_000 - 312..]);
}

#[test]
fn a_cut_anywhere_is_an_error_and_behind_the_first_page_of_audio_a_truncation() {
    let whole = fixture("speech.opus");
    let front: usize = pages(&whole)[..3].iter().map(Vec::len).sum();
    for length in (0..whole.len()).step_by(7) {
        let reason = decode(whole[..length].to_vec()).unwrap_err().reason();
        if length > front {
            assert_eq!(reason, "truncated", "cut at {length} of {}", whole.len());
        }
    }
}

#[test]
fn a_missing_page_is_an_error() {
    let all = pages(&fixture("music.opus"));
    assert!(all.len() > 5);
    for missing in 0..all.len() {
        let mut left = all.clone();
        left.remove(missing);
        let reason = decode(left.concat()).unwrap_err().reason();
        if missing == all.len() - 1 {
            assert_eq!(reason, "truncated");
        } else if missing > 1 {
            assert!(
                ["corrupt", "truncated"].contains(&reason),
                "page {missing}: {reason}"
            );
        }
    }
}

#[test]
fn a_wrong_bit_anywhere_is_an_error() {
    let whole = fixture("music.opus");
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(decode(damaged).is_err(), "bit {at}");
    }
}

#[test]
fn several_streams_in_one_file_are_refused() {
    let mut second = pages(&fixture("speech.opus"));
    for page in &mut second {
        page[14] ^= 1; // another serial number
        sign(page);
    }
    let joined = [fixture("speech.opus"), second.concat()].concat();
    let text = decode(joined).unwrap_err().to_string();
    assert!(text.contains("several streams are chained"), "{text}");
}

proptest! {
    #[test]
    fn packets_of_nonsense_neither_panic_nor_overrun(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..20),
        channels in 1u8..=2,
    ) {
        let head = head_of(&[channels, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let mut state = State::new(&head).unwrap();
        let channels = usize::from(channels);
        let mut samples = vec![f32::NAN; (MAX_PACKET_PERIODS + 1) * channels];
        for packet in &packets {
            let room = MAX_PACKET_PERIODS * channels;
            if let Ok(periods) = state.decode(packet, &mut samples[..room], channels) {
                prop_assert!(samples[..periods * channels].iter().all(|x| x.is_finite()));
            }
            prop_assert!(samples[room..].iter().all(|x| x.is_nan()));
        }
    }
}
