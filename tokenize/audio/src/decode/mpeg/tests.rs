//! Rows of made-up frames: headers count, contents do not.

use super::*;

/// MPEG 1, 44.1 kHz, 128 kbit/s: 417 bytes.
const FRAME_BYTES: usize = 417;

fn frame() -> Vec<u8> {
    let mut frame = vec![0x11; FRAME_BYTES];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x44]);
    frame
}

fn row(frames: usize) -> Vec<u8> {
    frame().repeat(frames)
}

fn problem(file: &[u8]) -> (u64, Problem) {
    let fault = frames(file).unwrap_err();
    let samples = (fault.secs * 44_100.0).round() as u64;
    (samples / 1152, fault.problem)
}

fn gap(file: &[u8]) -> (u64, String) {
    match problem(file) {
        (frames, Problem::Gap(detail)) => (frames, detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_give_the_size_of_every_kind_of_frame() {
    // version, bit-rate index, rate index, padding; bytes and rate as in the tables of ISO 11172-3 and 13818-3
    for (start, expected) in [
        ([0xff, 0xfb, 0x90, 0], (417, 1152, 44_100)),
        ([0xff, 0xfa, 0x92, 0], (418, 1152, 44_100)), // padded, with CRC
        ([0xff, 0xfb, 0xe8, 0], (1440, 1152, 32_000)),
        ([0xff, 0xfb, 0x14, 0], (96, 1152, 48_000)),
        ([0xff, 0xf3, 0x60, 0], (156, 576, 22_050)),
        ([0xff, 0xf3, 0xe4, 0], (480, 576, 24_000)),
        ([0xff, 0xe3, 0x18, 0], (72, 576, 8_000)),
    ] {
        let header = Header::parse(&start).unwrap();
        let found = (header.bytes, header.samples, header.rate_hz);
        assert_eq!(found, expected, "{start:x?}");
    }
    for bad in [
        [0xff, 0xdb, 0x90, 0], // sync
        [0xff, 0xeb, 0x90, 0], // version
        [0xff, 0xfd, 0x90, 0], // Layer II
        [0xff, 0xfb, 0x00, 0], // any bit rate
        [0xff, 0xfb, 0xf0, 0], // bit rate
        [0xff, 0xfb, 0x9c, 0], // sample rate
    ] {
        assert!(Header::parse(&bad).is_none(), "{bad:x?}");
    }
}

#[test]
fn tags_zeros_and_part_of_a_frame_may_surround_the_frames() {
    let id3v2 = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0x33; 130]].concat();
    let ape = [&b"APETAGEX"[..], &[0x77; 9_000]].concat();
    let id3v1 = [&b"TAG"[..], &[0; 125]].concat();
    let part = &frame()[100..];
    let zeros = [0; MAX_ZEROS];
    for (front, back) in [
        (vec![], vec![]),
        (id3v2.clone(), id3v1.clone()),
        (
            [&id3v2[..], &id3v2, part].concat(),
            [&ape[..], &id3v1].concat(),
        ),
        (zeros.to_vec(), zeros.to_vec()),
        (id3v2.clone(), [part, &ape].concat()),
    ] {
        let file = [&front[..], &row(5), &back].concat();
        let expected = Frames {
            bytes: front.len()..front.len() + 5 * FRAME_BYTES,
            samples: 5 * 1152,
        };
        assert_eq!(frames(&file), Ok(expected));
    }
    for count in [1, 2] {
        assert_eq!(frames(&row(count)).unwrap().samples, count as u64 * 1152);
    }
}

#[test]
fn every_cut_inside_a_frame_is_seen_and_none_between_frames() {
    let file = row(6);
    for length in 3 * FRAME_BYTES..file.len() {
        let cut = &file[..length];
        if length % FRAME_BYTES == 0 {
            assert!(frames(cut).is_ok(), "{length}");
        } else {
            let whole = (length / FRAME_BYTES) as u64;
            assert_eq!(problem(cut), (whole, Problem::CutOff), "{length}");
        }
    }
    // a tag behind does not make up for the rest of the frame
    let tagged = [&file[..5 * FRAME_BYTES + 300], b"TAG", &[0; 125]].concat();
    assert_eq!(problem(&tagged), (5, Problem::CutOff));
}

#[test]
fn bytes_between_frames_are_a_gap() {
    for (start, length) in [(4 * FRAME_BYTES, 1), (4 * FRAME_BYTES + 50, 900)] {
        let mut inserted = row(10);
        inserted.splice(start..start, vec![0xaa; length]);
        let mut inverted = row(10);
        inverted[start..start + length]
            .iter_mut()
            .for_each(|b| *b = !*b);
        let mut removed = row(10);
        removed.drain(start..start + length);
        for file in [inserted, inverted, removed] {
            let (frames, detail) = gap(&file);
            assert!((4..=5).contains(&frames), "{frames}");
            assert!(detail.contains("though more frames follow"), "{detail}");
        }
    }
    let id3v2 = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0x33; 130]].concat();
    let joined = [&id3v2[..], &row(5), &id3v2, &row(5)].concat();
    let (frames, detail) = gap(&joined);
    assert!(frames == 5 && detail.contains("split them"), "{detail}");
}

#[test]
fn more_than_a_frame_of_junk_at_either_end_is_a_gap() {
    let junk = [0xaa; FRAME_BYTES];
    assert!(
        gap(&[&row(5)[..], &junk].concat())
            .1
            .contains("417 bytes at byte 2085")
    );
    assert!(gap(&[&row(5)[..], &[0; MAX_ZEROS + FRAME_BYTES]].concat()).0 == 5);
    assert!(gap(&[&junk[..], &row(5)].concat()).1.contains("at byte 0"));
    assert!(gap(&[&[0; MAX_ZEROS + FRAME_BYTES][..], &row(5)].concat()).0 == 0);
    assert!(gap(b"").0 == 0 && gap(b"ID3\x04\0\0\x7f\x7f\x7f\x7f").0 == 0);
}
