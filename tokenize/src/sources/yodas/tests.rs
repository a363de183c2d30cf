use super::*;
use crate::skipped::BadRecord;
use crate::source::Counter;

#[test]
fn ids_are_read_from_their_end() {
    for (id, audio_id, expected) in [
        (
            "Yab-3_x--Q9-00003-00000230-00000240",
            "Yab-3_x--Q9",
            Some((3, 230, 240)),
        ),
        (
            "Yz-00001-00-00001-00000080-00000130",
            "Yz-00001-00",
            Some((1, 80, 130)),
        ),
        ("Yz-00001-00-00001-00000080-00000130", "Yz", None),
        ("Yz-00001-00000080", "Yz", None),
        ("Yz-00001-00000080-+0000130", "Yz", None),
        ("Yz-00001-00000080-0000013o", "Yz", None),
        ("Yz-00001-00000080-", "Yz", None),
        ("Yz-00001-00000080-4294967295", "Yz", None),
    ] {
        assert_eq!(parse_id(id, audio_id), expected, "{id}");
    }
}

#[test]
fn chunks_that_cannot_be_are_told_apart() {
    let reason = |id: &str, text: Value| chunk(id, "Y", text).map_err(|(reason, _)| reason);
    let text = || Value::from("hello");
    assert!(reason("Y-0-100-200", text()).is_ok());
    assert_eq!(reason("Y-0-100-100", text()), Err("broken-chunk"));
    assert_eq!(reason("Y-0-200-100", Value::Null), Err("broken-chunk"));
    assert_eq!(reason("Y-0-0-99999999", text()), Err("too-long"));
    assert_eq!(reason("Y-0-100-200", 12.into()), Err("bad-json"));
    assert_eq!(reason("Y-0-100", text()), Err("bad-id"));
}

/// Ids of utterances, and of bad records with their reasons.
#[derive(Default)]
struct Seen {
    utterances: Vec<String>,
    bad: Vec<(String, String)>,
}

impl Emit for Seen {
    fn utterance(&mut self, utterance: RawUtterance) -> crate::Result<()> {
        self.utterances.push(utterance.id);
        Ok(())
    }

    fn bad(&mut self, record: BadRecord) -> crate::Result<()> {
        self.bad.push((record.id, record.reason));
        Ok(())
    }

    fn counter(&self) -> Counter {
        Counter::default()
    }
}

/// A header for 24 kHz, mono, of 16 bits, and a second of noise, which does not compress.
fn wav() -> Vec<u8> {
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend([24_000u32, 48_000].map(u32::to_le_bytes).concat());
    wav.extend(b"\x02\0\x10\0data\0\0\0\0");
    wav.extend((0..24_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()));
    wav
}

#[test]
fn chunks_before_the_damage_are_kept_and_those_behind_it_counted() {
    let temp = tempfile::tempdir().unwrap();
    let (audio, text) = ("data/en000/audio/0.tar.gz", "data/en000/text/0.json");
    for path in [audio, text] {
        std::fs::create_dir_all(temp.path().join(path).parent().unwrap()).unwrap();
    }
    let gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    let mut builder = tar::Builder::new(gzip);
    for name in ["Ya.wav", "Yb.wav"] {
        let (mut header, wav) = (tar::Header::new_gnu(), wav());
        header.set_size(wav.len() as u64);
        builder.append_data(&mut header, name, &wav[..]).unwrap();
    }
    let archive = builder.into_inner().unwrap().finish().unwrap();
    std::fs::write(temp.path().join(audio), &archive[..archive.len() / 4]).unwrap();
    let json = r#"[{"audio_id": "Ya", "text": {"Ya-0-0-1": "", "Ya-1-99-100": "", "Ya-2-99-100": ""}},
                   {"audio_id": "Yb", "text": {"Yb-0-0-1": ""}}]"#;
    std::fs::write(temp.path().join(text), json).unwrap();

    let store = Store::open(temp.path().to_str().unwrap()).unwrap();
    let yodas = Yodas::open(&store, "en", &["en000".to_owned()]).unwrap();
    let mut seen = Seen::default();
    yodas.read(0, &mut seen).unwrap();
    assert_eq!(seen.utterances, ["Ya-0-0-1"]);
    let bad = [
        (audio, "truncated"),
        ("Ya-1-99-100", "missing-audio"),
        ("Ya-2-99-100", "missing-audio"),
        ("Yb-0-0-1", "missing-audio"),
    ];
    assert_eq!(
        seen.bad,
        bad.map(|(id, reason)| (id.to_owned(), reason.to_owned()))
    );
}

#[test]
fn the_recipe_has_these_shards() {
    assert_eq!(shards_of("en").len(), 38);
    assert_eq!(shards_of("th"), ["th000", "th100"]);
    assert_eq!(shards_of("zh"), ["zh000"]);
    assert!(shards_of("xx").is_empty());
}
