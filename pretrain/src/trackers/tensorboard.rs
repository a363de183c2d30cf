//! TensorBoard event files: `RUN/tensorboard/events.out.tfevents.<unix seconds>.<host>.<process>`.
//!
//! An event file is a row of [TFRecords](https://www.tensorflow.org/tutorials/load_data/tfrecord), each an
//! [`Event`](https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto) message. Every
//! sitting of a run has a file of its own. After the version comes `SessionLog.START` at the step whose records
//! follow: there TensorBoard drops what an earlier sitting wrote for this step and later ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Scalar, scalars};
use crate::metrics::Record;

/// Format of events that TensorBoard reads.
const VERSION: &str = "brain.Event:2";

/// The event file of one sitting of a run.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Begins an event file in `run_dir/tensorboard` for the records of `first_step` and later steps.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn start(run_dir: &Path, first_step: u64) -> io::Result<Self> {
        let dir = run_dir.join("tensorboard");
        fs::create_dir_all(&dir)?;
        let path = dir.join(file_name(&dir)?);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)?;
        let mut board = Self { path, file };
        let now = unix_secs();
        let start = [version_event(now), start_event(now, first_step)];
        board
            .file
            .write_all(&start.map(|event| frame(&event)).concat())?;
        Ok(board)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the scalars of a record in one write. Values that are not finite are written as they are.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        let step = match record {
            Record::Run(_) => return Ok(()),
            Record::Train(record) => record.step,
            Record::Validation(record) => record.step,
        };
        let event = summary_event(unix_secs(), step, &scalars(record));
        self.file.write_all(&frame(&event))
    }
}

/// The name of a new event file. TensorBoard reads a folder's files in the order of their names, so the time in it is
/// later than in all others, also within one second and after the clock was put back.
fn file_name(dir: &Path) -> io::Result<String> {
    let mut secs = unix_secs() as u64;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let time = name
            .to_string_lossy()
            .split('.')
            .nth(3)
            .map(str::parse::<u64>);
        if let Some(Ok(time)) = time {
            secs = secs.max(time + 1);
        }
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    let process = std::process::id();
    Ok(format!("events.out.tfevents.{secs:010}.{host}.{process}"))
}

fn unix_secs() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A TFRecord: length, its checksum, data, its checksum; all little-endian.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc32c(data).to_le_bytes());
    record
}

/// CRC-32C rotated and offset, as TFRecords store it.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial (RFC 3720, appendix B.4), bits reversed.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32c_table();
    let step = |crc: u32, &byte: &u8| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)];
    !data.iter().fold(!0, step)
}

const fn crc32c_table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

// Messages of event.proto and summary.proto, with the numbers of their fields there.

/// `Event { wall_time = 1, step = 2, … }`, to which one of the fields that say what happened is added.
fn event(wall_time: f64, step: u64) -> Message {
    let mut event = Message::default();
    event.double(1, wall_time);
    // protobuf leaves out what is zero
    if step > 0 {
        event.varint(2, step);
    }
    event
}

/// `Event { file_version = 3 }`.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = event(wall_time, 0);
    event.bytes(3, VERSION.as_bytes());
    event.0
}

/// `Event { session_log = 7: SessionLog { status = 1: START = 1 } }`.
fn start_event(wall_time: f64, step: u64) -> Vec<u8> {
    let mut log = Message::default();
    log.varint(1, 1);
    let mut event = event(wall_time, step);
    event.bytes(7, &log.0);
    event.0
}

/// `Event { summary = 5: Summary { value = 1: Value { tag = 1, simple_value = 2 }, … } }`.
fn summary_event(wall_time: f64, step: u64, scalars: &[Scalar]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in scalars {
        let mut message = Message::default();
        message.bytes(1, tag.as_bytes());
        message.float(2, *value as f32);
        summary.bytes(1, &message.0);
    }
    let mut event = event(wall_time, step);
    event.bytes(5, &summary.0);
    event.0
}

/// A message in [protobuf's encoding](https://protobuf.dev/programming-guides/encoding), field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.base128(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.base128(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.base128(field << 3 | wire_type);
    }

    /// Seven bits a byte, the lowest first, the eighth set in all bytes but the last.
    fn base128(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{TrainRecord, ValidationRecord};

    /// A run's records, and the event file that TensorBoard's own writer makes of them; see
    /// scripts/make_tensorboard_fixture.py.
    const RECORDS: &str = include_str!("../../tests/fixtures/tensorboard/metrics.jsonl");
    const EVENTS: &[u8] = include_bytes!("../../tests/fixtures/tensorboard/events.bin");
    /// Of the fixture's first event; each later one is a quarter of a second after the one before.
    const FIRST_WALL_TIME: f64 = 1.75e9;
    /// Where the fixture goes on.
    const FIRST_STEP: u64 = 300;

    fn records() -> Vec<Record> {
        let parse = |line| serde_json::from_str(line).unwrap();
        RECORDS.lines().map(parse).collect()
    }

    #[test]
    fn events_are_the_bytes_that_tensorboard_writes() {
        let mut events = vec![
            version_event(FIRST_WALL_TIME),
            start_event(FIRST_WALL_TIME + 0.25, FIRST_STEP),
        ];
        for record in records() {
            let (Record::Train(TrainRecord { step, .. })
            | Record::Validation(ValidationRecord { step, .. })) = record
            else {
                continue;
            };
            let wall_time = FIRST_WALL_TIME + 0.25 * events.len() as f64;
            events.push(summary_event(wall_time, step, &scalars(&record)));
        }
        assert_eq!(events.len(), 5, "the fixture lost its records");
        let bytes: Vec<u8> = events.iter().flat_map(|event| frame(event)).collect();
        let differ = bytes.iter().zip(EVENTS).position(|(a, b)| a != b);
        assert_eq!((differ, bytes.len()), (None, EVENTS.len()));
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn each_record_is_on_its_way_at_once_and_a_sitting_has_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for first_step in [0, 300] {
            let mut board = TensorBoard::start(dir.path(), first_step).unwrap();
            let mut length = fs::read(board.path()).unwrap().len();
            for record in records() {
                board.record(&record).unwrap();
                let now = fs::read(board.path()).unwrap().len();
                assert_eq!(now > length, !matches!(record, Record::Run(_)));
                length = now;
            }
            names.push(board.path().to_owned());
        }
        assert!(names[0] < names[1], "{names:?}");
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_change_the_order_of_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tensorboard")).unwrap();
        let future = "events.out.tfevents.9000000000.host.1";
        fs::write(dir.path().join("tensorboard").join(future), "").unwrap();
        let board = TensorBoard::start(dir.path(), 0).unwrap();
        let name = board.path().file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("events.out.tfevents.9000000001."),
            "{name}"
        );
    }
}
