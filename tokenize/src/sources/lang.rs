//! Recognises a folder named after a language.

/// ISO 639-1, and the ISO 639-3 codes of the languages speech corpora commonly name by three letters. Not all of ISO 639-3:
/// that has `wav`, `raw` and many another word that folders are called.
const CODES: &str = "\
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es \
    et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj \
    kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv \
    ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti \
    tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu \
    ara ben cat ceb ces cmn dan deu ell eng fas fil fin fra hau heb hin hun ind ita jpn kor mar msa nld nor pan pol por ron \
    rus spa swa swe tam tel tgl tha tur ukr urd vie yor yue zho zul";

/// Whether `name` is a language code.
pub fn is_code(name: &str) -> bool {
    CODES.split_ascii_whitespace().any(|code| code == name)
}

#[cfg(test)]
mod tests {
    use super::is_code;

    #[test]
    fn knows_languages_from_common_folder_names() {
        assert!(["en", "zh", "yue", "eng"].into_iter().all(is_code));
        assert!(
            !["wav", "raw", "mp3", "EN", "", "a", "en fr", "train"]
                .into_iter()
                .any(is_code)
        );
    }
}
