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
    // of 80 bytes each, and recordings of the third and the fourth
    let line = |id: &str, part: &str| {
        let line = format!("{{\"id\":\"{id}\",\"instruction\":[{part}],\"response\":\"!\"}}");
        format!("{line:<79}\n")
    };
    let sound = |name: &str| format!("{{\"audio\":\"{name}\"}}");
    let text = line("a", "\"?\"") + &line("b", "\"?\"") + "\n" + &line("c", &sound("c.wav"));
    fs::write(&file, text + &line("d", &sound("d.wav")) + "no JSON").unwrap();
    let record = |sizes: [usize; 2]| {
        for (name, size) in ["c.wav", "d.wav"].into_iter().zip(sizes) {
            fs::write(dir.path().join(name), vec![0; size]).unwrap();
        }
    };
    record([100, 50]);
    let open = |bytes| Instructions::open(std::slice::from_ref(&file), None, bytes).unwrap();
    let whole = open(1 << 20);
    assert_eq!(whole.name(), "v1.5");
    assert_eq!(read(&whole), [["a", "b", "c", "d", "bad v1.5.jsonl:6"]]);
    let cut = open(160);
    let expected = [vec!["a", "b"], vec!["c"], vec!["d", "bad v1.5.jsonl:6"]];
    assert_eq!(read(&cut), expected);
    assert_eq!(read(&open(1)).len(), 5);

    // recordings of other sizes are another input, also where the sum is the same, and so is another line
    let labels = |source: &Instructions| -> Vec<String> {
        let units = source.units.iter();
        units.map(|unit| unit.label.clone()).collect()
    };
    record([50, 100]);
    assert_ne!(labels(&open(1 << 20)), labels(&whole));
    record([99, 50]);
    let edited = fs::read_to_string(&file).unwrap();
    fs::write(&file, edited.replace("no JSON", "no json")).unwrap();
    // what is alike stays alike
    let (before, after) = (labels(&cut), labels(&open(160)));
    let is_alike: Vec<_> = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    assert_eq!(is_alike, [true, false, false]);
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
