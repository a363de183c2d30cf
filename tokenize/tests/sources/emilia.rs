use crate::common::{check_commands, check_damaged};

const SOUND: [&str; 3] = ["emilia", "--codec", "mel-rvq"];

#[test]
fn conversations_are_documents() {
    let first = [&SOUND[..], &["--split", "Emilia", "--langs", "EN,DE"]].concat();
    let second = [&SOUND[..], &["--split", "Emilia-YODAS", "--langs", "en"]].concat();
    check_commands("emilia", ".", &[&first, &second]);
}

#[test]
fn what_is_whole_is_kept() {
    let command = [&SOUND[..], &["--split", "Emilia", "--langs", "EN"]].concat();
    for case in ["emilia-truncated", "emilia-bad-header", "emilia-bad-frames"] {
        check_damaged(case, &command);
    }
}
