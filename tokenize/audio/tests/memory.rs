//! The only test of its program, since the peak of memory is the program's.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Seek, SeekFrom, Write};

/// Of memory that is in use, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[test]
fn a_long_recording_takes_a_few_megabytes() {
    const RATE_HZ: u32 = 16_000;
    const SECS: u32 = 4 * 3600;
    let bytes = RATE_HZ * SECS * 2;
    let mut header = Vec::new();
    header.extend(b"RIFF");
    header.extend((bytes + 36).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(RATE_HZ.to_le_bytes());
    header.extend((2 * RATE_HZ).to_le_bytes());
    header.extend(b"\x02\0\x10\0data");
    header.extend(bytes.to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.wav");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&header).unwrap();
    // silence that takes no room on the disk
    file.seek(SeekFrom::Start(u64::from(bytes))).unwrap();
    file.set_len(header.len() as u64 + u64::from(bytes))
        .unwrap();

    let before = peak();
    let blocks = audio::open(&audio::Input::File(path), 24_000, 1).unwrap();
    let samples: u64 = blocks.map(|block| block.unwrap().len() as u64).sum();
    assert_eq!(samples, 24_000 * u64::from(SECS));
    let grown = peak() - before;
    assert!(grown < 8 << 20, "{grown} bytes for {SECS} seconds");
}
