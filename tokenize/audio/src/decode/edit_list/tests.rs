//! Movies made of the few atoms that matter.

use std::io::Write;

use super::*;

fn atom_of(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = 8 + body.len() as u32;
    [&length.to_be_bytes()[..], name, body].concat()
}

/// `mvhd`, `tkhd` or `mdhd` with one value.
fn header(name: &[u8; 4], version: u8, value: u32) -> Vec<u8> {
    let mut body = vec![0; if version == 0 { 12 } else { 20 }];
    body[0] = version;
    body.extend(value.to_be_bytes());
    atom_of(name, &body)
}

fn track(id: u32, version: u8, edits: &[(u32, i32, u32)]) -> Vec<u8> {
    let mut list = (edits.len() as u64).to_be_bytes().to_vec();
    for (length, start, speed) in edits {
        list.extend(length.to_be_bytes());
        list.extend(start.to_be_bytes());
        list.extend(speed.to_be_bytes());
    }
    let parts = [
        header(b"tkhd", version, id),
        atom_of(b"edts", &atom_of(b"elst", &list)),
        atom_of(b"mdia", &header(b"mdhd", version, 16_000)),
    ];
    atom_of(b"trak", &parts.concat())
}

fn movie_of(tracks: &[Vec<u8>]) -> Vec<u8> {
    [header(b"mvhd", 0, 1_000), tracks.concat()].concat()
}

const NORMAL: u32 = 1 << 16;

#[test]
fn the_one_part_played_at_normal_speed_is_the_span() {
    for version in [0, 1] {
        let other = track(1, version, &[(7, 7, NORMAL)]);
        let movie = movie_of(&[
            other,
            track(2, version, &[(500, -1, NORMAL), (2_500, 1_024, NORMAL)]),
        ]);
        let expected = Span {
            start_secs: 0.064,
            length_secs: Some(2.5),
        };
        assert_eq!(span(&movie, 2), Some(expected));
        assert_eq!(span(&movie, 3), None);
    }
    let to_the_end = span(&movie_of(&[track(1, 0, &[(0, 160, NORMAL)])]), 1).unwrap();
    assert_eq!(
        (to_the_end.start_secs, to_the_end.length_secs),
        (0.01, None)
    );
}

#[test]
fn other_lists_are_not_followed() {
    for edits in [
        &[(500, 0, NORMAL), (500, 16_000, NORMAL)][..],
        &[(500, 0, 2 * NORMAL)],
        &[(500, -1, NORMAL)],
        &[],
    ] {
        assert_eq!(span(&movie_of(&[track(1, 0, edits)]), 1), None, "{edits:?}");
    }
}

#[test]
fn the_movie_is_found_behind_long_data_and_broken_files_have_none() {
    let movie = movie_of(&[track(1, 0, &[(2_500, 1_024, NORMAL)])]);
    let long = [
        &1u32.to_be_bytes()[..],
        b"mdat",
        &24u64.to_be_bytes(),
        &[9; 8],
    ]
    .concat();
    let whole = [atom_of(b"ftyp", b"M4A "), long, atom_of(b"moov", &movie)].concat();
    let read_bytes = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(&mut file, 1).unwrap()
    };
    assert_eq!(read_bytes(&whole), span(&movie, 1));
    assert!(read_bytes(&whole).is_some());
    for length in 0..whole.len() {
        assert_eq!(read_bytes(&whole[..length]), None, "cut at {length}");
    }
    for at in 0..whole.len() {
        // any byte may be wrong: no panic, no endless loop
        let mut bytes = whole.clone();
        bytes[at] = !bytes[at];
        read_bytes(&bytes);
    }
}
