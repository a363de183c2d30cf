use crate::common::{check, check_damaged};

#[test]
fn lines_are_documents() {
    let splits = "hq_actual,hq_synth,medium_high";
    check("nemotron", ".", &["nemotron", "--split", splits]);
}

#[test]
fn what_lies_before_the_damage_is_kept() {
    for case in ["nemotron-truncated-gz", "nemotron-truncated-zstd"] {
        check_damaged(case, &["nemotron", "--split", "hq_actual"]);
    }
}
