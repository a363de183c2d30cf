use super::*;
use crate::skipped::BadRecord;
use crate::source::{Counter, RawUtterance};

/// Writes down what is emitted: ids, and the bytes counted.
#[derive(Default)]
struct Listener {
    ids: Vec<String>,
    counter: Counter,
}

impl Emit for Listener {
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
        self.ids.push(utterance.id);
        Ok(())
    }

    fn bad(&mut self, record: BadRecord) -> Result<()> {
        self.ids.push(format!("bad {}", record.id));
        Ok(())
    }

    fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

fn read(source: &Instructions) -> Vec<Vec<String>> {
    let read = |unit: usize| {
        let mut listener = Listener::default();
        source.read(unit, &mut listener).unwrap();
        assert_eq!(listener.counter.load(Relaxed), source.units[unit].bytes);
        listener.ids.dedup();
        listener.ids
    };
    (0..source.units.len()).map(read).collect()
}

#[test]
fn a_file_is_cut_between_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("v1.5.jsonl");
    // of 80 bytes each, and a recording of 100 bytes in the third
    let line = |id: &str, part: &str| {
        let line = format!("{{\"id\":\"{id}\",\"instruction\":[{part}],\"response\":\"!\"}}");
        format!("{line:<79}\n")
    };
    let text =
        line("a", "\"?\"") + &line("b", "\"?\"") + "\n" + &line("c", "{\"audio\":\"c.wav\"}");
    fs::write(&file, text + &line("d", "\"?\"") + "no JSON").unwrap();
    fs::write(dir.path().join("c.wav"), [0; 100]).unwrap();
    let open =
        |unit_bytes| Instructions::open(std::slice::from_ref(&file), None, unit_bytes).unwrap();
    let whole = open(1 << 20);
    assert_eq!(whole.name(), "v1.5");
    assert_eq!(read(&whole), [["a", "b", "c", "d", "bad v1.5.jsonl:6"]]);
    let cut = open(160);
    let expected = [vec!["a", "b"], vec!["c"], vec!["d", "bad v1.5.jsonl:6"]];
    assert_eq!(read(&cut), expected);
    assert_eq!(read(&open(1)).len(), 5);

    // a recording of another size is another input, and so is another line; what is alike stays alike
    fs::write(dir.path().join("c.wav"), [0; 99]).unwrap();
    let labels = |source: &Instructions| {
        source
            .units
            .iter()
            .map(|u| u.label.clone())
            .collect::<Vec<_>>()
    };
    let (before, after) = (labels(&cut), labels(&open(160)));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    let edited = fs::read_to_string(&file)
        .unwrap()
        .replace("no JSON", "no json");
    fs::write(&file, edited).unwrap();
    assert_ne!(labels(&open(160))[2], after[2]);
}

#[test]
fn an_id_is_taken_once_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let line = |id: &str| format!("{{\"id\":\"{id}\",\"instruction\":\"?\",\"response\":\"!\"}}\n");
    let write = |name: &str, ids: &[&str]| {
        let path = dir.path().join(name);
        fs::write(&path, ids.iter().map(|id| line(id)).collect::<String>()).unwrap();
        path
    };
    let files = [
        write("a.jsonl", &["x", "y", "x", "", ""]),
        write("b.jsonl", &["z", "y"]),
    ];
    let source = Instructions::open(&files, Some("both"), 1).unwrap();
    let expected = ["x", "y", "bad x", "a.jsonl:4", "a.jsonl:5", "z", "bad y"];
    assert_eq!(read(&source).concat(), expected);
}
