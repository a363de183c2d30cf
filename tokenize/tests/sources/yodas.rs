use crate::common::{check, check_damaged};

#[test]
fn videos_are_documents() {
    check(
        "yodas",
        ".",
        &["yodas", "--codec", "mel-rvq", "--langs", "en,es"],
    );
}

#[test]
fn what_is_whole_is_kept() {
    for case in ["yodas-truncated", "yodas-corrupt-member"] {
        check_damaged(
            case,
            &[
                "yodas", "--codec", "mel-rvq", "--langs", "en", "--shards", "en000",
            ],
        );
    }
}
