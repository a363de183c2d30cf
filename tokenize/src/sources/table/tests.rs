use std::fs;
use std::path::Path;

use arrow::array::{
    BinaryViewArray, Float32Array, Int64Array, LargeBinaryArray, LargeStringArray, StringViewArray,
    StructArray,
};
use arrow::datatypes::{Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::source::RawUtterance;

const COLUMNS: [Column; 4] = [
    Column::new("id", Kind::Label),
    Column::new("text", Kind::Text),
    Column::new("secs", Kind::Number),
    Column::new("audio", Kind::Audio),
];

#[derive(Default)]
struct Heard {
    rows: Vec<String>,
    bad: Vec<BadRecord>,
    counter: Counter,
}

impl Emit for Heard {
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
        self.rows.push(utterance.id);
        Ok(())
    }

    fn bad(&mut self, record: BadRecord) -> Result<()> {
        self.bad.push(record);
        Ok(())
    }

    fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

/// `origin id text secs audio` of each row, as an utterance.
fn hear(dir: &Path) -> Result<Heard> {
    let store = Store::open(dir.to_str().unwrap())?;
    let object = store.head("a.parquet")?.unwrap();
    let mut heard = Heard::default();
    read(&store, &object, &COLUMNS, &mut heard, &mut |row, emit| {
        let audio = match row.audio(3) {
            Some(audio::Input::Bytes { name, data }) => {
                format!("{name}={}", String::from_utf8_lossy(&data))
            }
            _ => "none".to_owned(),
        };
        let (id, text) = (row.text(0).unwrap_or("none"), row.text(1).unwrap_or("none"));
        let id = format!("{} {id} {text} {:?} {audio}", row.origin(), row.number(2));
        emit.utterance(RawUtterance {
            id,
            ..RawUtterance::default()
        })
    })?;
    Ok(heard)
}

fn write(dir: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .build();
    let file = fs::File::create(dir.join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn ids() -> ArrayRef {
    Arc::new(Int64Array::from(vec![10, 20, 30]))
}

fn texts() -> ArrayRef {
    Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("c")]))
}

fn secs() -> ArrayRef {
    Arc::new(Float32Array::from(vec![Some(0.5), Some(1.0), None]))
}

fn sounds() -> ArrayRef {
    let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![
        Some(&b"x"[..]),
        None,
        Some(b"z"),
    ]));
    let paths: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x.wav"), None, None]));
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::BinaryView, true),
        Field::new("path", DataType::Utf8View, true),
    ]);
    Arc::new(StructArray::new(fields, vec![bytes, paths], None))
}

fn all(dir: &Path) {
    // a column that is not asked for, and another order
    write(
        dir,
        vec![
            ("audio", sounds()),
            ("other", texts()),
            ("secs", secs()),
            ("text", texts()),
            ("id", ids()),
        ],
    );
}

#[test]
fn rows_come_in_order_whatever_their_form_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    all(dir.path());
    let heard = hear(dir.path()).unwrap();
    let expected = [
        "a.parquet:1 10 a Some(0.5) a.parquet:1/x.wav=x",
        "a.parquet:2 20 none Some(1.0) none",
        "a.parquet:3 30 c None a.parquet:3=z",
    ];
    assert_eq!(heard.rows, expected);
    let size = fs::metadata(dir.path().join("a.parquet")).unwrap().len();
    let counted = heard.counter.load(Relaxed);
    assert!(counted > 0 && counted < size, "{counted} of {size}");
}

#[test]
fn recordings_may_be_plain_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let plain: ArrayRef = Arc::new(LargeBinaryArray::from(vec![&b"p"[..], b"q", b"r"]));
    write(
        dir.path(),
        vec![
            ("id", ids()),
            ("text", texts()),
            ("secs", ids()),
            ("audio", plain),
        ],
    );
    let rows = hear(dir.path()).unwrap().rows;
    assert_eq!(rows[2], "a.parquet:3 30 c Some(30.0) a.parquet:3=r");
}

#[test]
fn columns_of_another_kind_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (columns, expected) in [
        (
            vec![("id", ids()), ("text", texts()), ("audio", sounds())],
            "column \"secs\" is missing",
        ),
        (
            vec![
                ("id", ids()),
                ("text", secs()),
                ("secs", secs()),
                ("audio", sounds()),
            ],
            "column \"text\" is of type Float32; it must hold text",
        ),
        (
            vec![
                ("id", ids()),
                ("text", texts()),
                ("secs", texts()),
                ("audio", sounds()),
            ],
            "column \"secs\" is of type Utf8; it must hold a number",
        ),
        (
            vec![
                ("id", ids()),
                ("text", texts()),
                ("secs", secs()),
                ("audio", texts()),
            ],
            "column \"audio\" is of type Utf8; it must hold binary",
        ),
    ] {
        write(dir.path(), columns);
        let text = hear(dir.path()).err().unwrap().to_string();
        assert!(
            text.contains(expected) && text.contains("a.parquet"),
            "{text}"
        );
    }
}

/// Whatever is wrong, the rows before it are there, the loss is a bad record, and nothing panics.
#[test]
fn damage_is_a_bad_record() {
    let dir = tempfile::tempdir().unwrap();
    all(dir.path());
    let path = dir.path().join("a.parquet");
    let whole = fs::read(&path).unwrap();
    let expected = hear(dir.path()).unwrap().rows;
    for length in [0, 1, 4, 8, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let heard = hear(dir.path()).unwrap();
        assert_eq!(heard.bad.len(), 1, "{length}");
        assert_eq!(
            heard.bad[0].reason, "truncated",
            "{length}: {:?}",
            heard.bad
        );
    }
    fs::write(&path, b"no parquet at all").unwrap();
    assert_eq!(hear(dir.path()).unwrap().bad[0].reason, "corrupt");
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        fs::write(&path, &broken).unwrap();
        // a name that is damaged is a column that is missing, and some bytes are values, of which parquet has no checksum
        if let Ok(heard) = hear(dir.path()) {
            assert!(heard.bad.len() <= 1);
            // all rows may be there and their count in the footer wrong
            let is_told = heard.rows.len() == expected.len() || heard.bad.len() == 1;
            assert!(is_told, "byte {at}: {:?}", heard.bad);
        }
    }
}

#[test]
fn trouble_with_the_store_ends_the_job() {
    let dir = tempfile::tempdir().unwrap();
    all(dir.path());
    let store = Store::open(dir.path().to_str().unwrap()).unwrap();
    let object = store.head("a.parquet").unwrap().unwrap();
    let input = Input {
        random: store.random(&object).unwrap(),
        counter: Counter::default(),
        failure: Arc::default(),
    };
    let damage = || compressed::damage("a.parquet", input.cause("what parquet says".to_owned()));
    assert_eq!(damage().unwrap().reason, "corrupt");
    let passed_on = input.keep(io::Error::from_raw_os_error(5));
    assert!(passed_on.raw_os_error().is_none());
    assert!(damage().unwrap_err().to_string().contains("a.parquet"));
    // a file that becomes shorter is cut
    fs::write(dir.path().join("a.parquet"), b"PAR1").unwrap();
    let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new());
    assert!(metadata.is_err());
    assert_eq!(damage().unwrap().reason, "truncated");
}

#[test]
fn batches_are_small_where_rows_are_large() {
    let rows = |bytes: usize| {
        let dir = tempfile::tempdir().unwrap();
        let large = vec![vec![7u8; bytes]; 3];
        let large: Vec<&[u8]> = large.iter().map(Vec::as_slice).collect();
        let audio: ArrayRef = Arc::new(LargeBinaryArray::from(large));
        write(
            dir.path(),
            vec![
                ("id", ids()),
                ("text", texts()),
                ("secs", secs()),
                ("audio", audio),
            ],
        );
        let file = fs::File::open(dir.path().join("a.parquet")).unwrap();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let place = Place {
            location: "here",
            path: "a.parquet",
            columns: &COLUMNS,
        };
        place.batch_rows(metadata.metadata().row_group(0))
    };
    assert_eq!(rows(10), BATCH_ROWS as usize);
    assert_eq!(rows(20 << 20), 1);
}
