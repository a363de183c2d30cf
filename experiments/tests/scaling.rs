//! The tables of `docs/scaling.md` against the model that `scripts/scaling_tables.py` has them from; all but the memory, which
//! `pretrain` checks.

use experiments::{Cluster, Scaling, Vocabulary, load};

/// A row but for its last column.
fn row(size: &str, ranks: u64, network: &str, micro_batch: usize) -> String {
    let experiment = load("exp2.1").unwrap();
    let plan = experiment.resolve(&[size.into()], &[]).unwrap().plan;
    let network = Some(network.parse().unwrap());
    let cluster = Cluster::new("h100".parse().unwrap(), ranks, 8, network).unwrap();
    let found = Scaling::new(&plan, Vocabulary::Marin.size(), &cluster, micro_batch, 0.4).unwrap();
    let shares = [found.communication_share, found.efficiency, found.mfu];
    let shares = shares.map(|share| format!("{:.1} %", 100.0 * share));
    format!(
        "| {size} | {ranks} | {micro_batch} | {:.3} | {:.3} | {} |",
        found.step_secs,
        found.tokens_per_sec / 1e6,
        shares.join(" | ")
    )
}

#[test]
fn tables_of_the_documents_are_what_the_model_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scaling.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut network, mut rows) = ("", 0);
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("`--net ") {
            network = named.trim_end_matches("`:");
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", size @ ("600m" | "1.7b" | "4b"), ranks, micro_batch, ..] = cells[..] else {
            continue;
        };
        let expected = row(
            size,
            ranks.parse().unwrap(),
            network,
            micro_batch.parse().unwrap(),
        );
        assert!(line.starts_with(&expected), "{line}\nis now\n{expected}");
        rows += 1;
    }
    assert_eq!(rows, 2 * 3 * 6);
}
