use proptest::prelude::*;

use super::*;

fn characters(codes: &[u16]) -> String {
    let character = |(at, &code)| shards::pua_char(at % CODEBOOKS, code, CODEBOOK_SIZE);
    codes.iter().enumerate().map(character).collect()
}

fn row(utterances: &[Utterance], is_text_first: bool) -> String {
    let mut text = BOS.to_owned();
    for utterance in utterances {
        let said = format!("{}{}{}", TEXT.0, utterance.text, TEXT.1);
        let sound = format!("{}{}{}", AUDIO.0, characters(&utterance.codes), AUDIO.1);
        text += &match is_text_first {
            true => said + &sound,
            false => sound + &said,
        };
    }
    text + EOS
}

fn one(text: &str, codes: &[u16]) -> Vec<Utterance> {
    let (text, codes) = (text.to_owned(), codes.to_owned());
    vec![Utterance { text, codes }]
}

proptest! {
    #[test]
    fn rows_are_read_as_they_were_written(
        said in proptest::collection::vec(("[a<|> é\u{e000}]{0,9}", proptest::collection::vec(0u16..2048, 0..40)), 1..4),
        is_text_first: bool,
    ) {
        let utterances: Vec<_> = said
            .into_iter()
            .map(|(text, mut codes)| {
                codes.truncate(codes.len() / CODEBOOKS * CODEBOOKS);
                Utterance { text, codes }
            })
            .collect();
        prop_assert_eq!(document(&row(&utterances, is_text_first)), Ok(utterances));
    }

    #[test]
    fn no_other_character_passes_for_audio(codes in proptest::collection::vec(0u16..2048, 16), at in 0usize..16, other: char) {
        let mut sound: Vec<char> = characters(&codes).chars().collect();
        let is_same = sound[at] == other;
        sound[at] = other;
        let sound: String = sound.into_iter().collect();
        let text = row(&one("a", &codes), true).replace(&characters(&codes), &sound);
        match document(&text) {
            Ok(found) => {
                // then it is a character of the same codebook
                let code = u32::from(other) - FIRST - (at % CODEBOOKS * CODEBOOK_SIZE) as u32;
                prop_assert_eq!(u32::from(found[0].codes[at]), code);
                prop_assert!(is_same || found[0].codes != codes);
            }
            Err(fault) => prop_assert_eq!(fault.reason(), "altered-audio"),
        }
    }
}

#[test]
fn all_codes_are_told_apart() {
    for codebook in 0..CODEBOOKS {
        for code in 0..CODEBOOK_SIZE as u16 {
            let mut codes = [7; CODEBOOKS];
            codes[codebook] = code;
            let bytes = characters(&codes).into_bytes();
            assert_eq!(frame(&bytes.try_into().unwrap()), Some(codes));
        }
    }
}

#[test]
fn lost_and_swapped_characters_are_altered_audio() {
    let codes: Vec<u16> = (0..16).collect();
    let text = row(&one("a", &codes), false);
    let sound: Vec<char> = characters(&codes).chars().collect();
    let mut swapped = sound.clone();
    swapped.swap(6, 7);
    let shorter: Vec<char> = sound[..15].to_vec();
    let longer: Vec<char> = [&sound[..], &sound[..1]].concat();
    for changed in [swapped, shorter, longer] {
        let changed: String = changed.into_iter().collect();
        let fault = document(&text.replace(&characters(&codes), &changed)).unwrap_err();
        assert_eq!(fault.reason(), "altered-audio", "{fault}");
    }
}

#[test]
fn broken_structure_is_told() {
    let good = row(&one("a", &[0; 8]), true);
    assert!(document(&good).is_ok());
    for (from, to) in [
        (TEXT.0, "<|text_start|><|text_start|>"),
        (TEXT.1, ""),
        (AUDIO.0, ""),
        (AUDIO.1, ""),
        (AUDIO.1, "<|audio_end|> "),
        (EOS, "<|end_of_text|>more"),
        (TEXT.0, " <|text_start|>"),
    ] {
        let fault = document(&good.replace(from, to)).unwrap_err();
        assert_eq!(fault.reason(), "not-a-document", "{from} {to:?} {fault}");
    }
    for text in [
        "",
        "<|begin_of_text|><|end_of_text|>",
        "text",
        "<|begin_of_text|>text<|end_of_text|>",
    ] {
        assert_eq!(
            document(text).unwrap_err().reason(),
            "not-a-document",
            "{text}"
        );
    }
    // BOS and EOS are what a trainer adds
    let bare = good
        .strip_prefix(BOS)
        .and_then(|text| text.strip_suffix(EOS))
        .unwrap();
    assert_eq!(document(bare), document(&good));
}
