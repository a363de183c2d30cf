//! Pairs of speech.

use shards::Dataset;

use crate::common::{CODEC, check, fixtures, make_tokenizer, run};

#[test]
fn a_pair_goes_through_both_texts() {
    let command = ["cvss", "--langs", "de,es", "--method", "1"];
    check("cvss", ".", &[&command[..], &CODEC].concat());
}

#[test]
fn the_direct_pair_has_only_sounds() {
    let temp = tempfile::tempdir().unwrap();
    let (tokenizer, out) = (temp.path().join("tokenizer"), temp.path().join("out"));
    make_tokenizer(&tokenizer);
    for method in ["1", "2"] {
        let command = ["cvss", "--langs", "es", "--method", method];
        let command = [&command[..], &CODEC].concat();
        run(
            &command,
            &fixtures().join("cvss"),
            &tokenizer,
            &out.join(method),
        );
    }
    let documents = |method: &str| {
        let dataset = Dataset::open(&out.join(method).join("cvss-es")).unwrap();
        let readers = (0..dataset.shards().len()).map(|shard| dataset.reader(shard).unwrap());
        let documents = readers.flat_map(|reader| reader.documents(0).unwrap());
        documents.collect::<Vec<_>>()
    };
    // what lacks a text is whole without it
    let (texts, direct) = (documents("1"), documents("2"));
    assert_eq!((texts.len(), direct.len()), (3, 4));
    for document in texts {
        let sounds = [&document.segments[0], &document.segments[3]];
        let twin = direct.iter().find(|other| other.id == document.id).unwrap();
        assert_eq!(twin.segments.iter().collect::<Vec<_>>(), sounds);
    }
}
