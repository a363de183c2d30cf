//! `mixes list`, `show` and `plot`, which need no data.

use mixes::*;
use serde_json::Value;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixes"));
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The points of each polygon of a drawing.
fn polygons(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let points = |element: &str| {
        let points = element.split("points=\"").nth(1).unwrap();
        let pairs = points.split('"').next().unwrap().split_whitespace();
        let number = |text: &str| text.parse::<f64>().unwrap();
        let pair = |pair: &str| pair.split_once(',').map(|(x, y)| (number(x), number(y)));
        pairs.map(|text| pair(text).unwrap()).collect()
    };
    svg.split("<polygon").skip(1).map(points).collect()
}

/// Whether every element of a document is closed in its place, and every attribute quoted.
fn is_well_formed(xml: &str) -> bool {
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let Some((tag, text)) = tag.split_once('>') else {
            return false;
        };
        if text.contains('&') && !text.contains(';') || !tag.matches('"').count().is_multiple_of(2)
        {
            return false;
        }
        let name = tag
            .trim_start_matches('/')
            .split([' ', '\n', '/'])
            .next()
            .unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) if open.pop() != Some(name) => return false,
            (false, false) if !tag.starts_with(['?', '!']) => open.push(name),
            _ => {}
        }
    }
    open.is_empty()
}

#[test]
fn areas_end_where_the_schedule_says() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mixture.svg");
    let call = "pretrain-to-cooldown(total_tokens=1e9)";
    let arguments = [
        "plot",
        call,
        "--tokens",
        "1.1e9",
        "--seq-len",
        "512",
        "--out",
    ];
    assert_eq!(
        printed(&[&arguments[..], &[path.to_str().unwrap()]].concat()),
        ""
    );
    let svg = fs::read_to_string(&path).unwrap();
    assert!(is_well_formed(&svg));
    assert!(!is_well_formed(&svg.replacen("</text>", "", 1)));
    let sequences = 1_100_000_000u64.div_ceil(512);
    let mixture = Mixture::open(call).unwrap();
    let schedule = Schedule::new(&mixture, 512, 9).unwrap();
    let mut areas = polygons(&svg);
    // the uppermost is drawn first
    areas.reverse();
    assert_eq!(areas.len(), mixture.components.len());
    let whole = areas.last().unwrap().clone();
    let (origin, end) = (whole[0], whole[whole.len() - 1]);
    let height = origin.1 - whole[1].1;
    assert!(height > 500.0 && end.1 == origin.1);
    for (component, area) in areas.iter().enumerate() {
        for at in (0..1000).map(|part| part * sequences / 1000) {
            // the middle of a block: far enough from any step
            let block = at / mixture.block_size;
            let middle = (block as f64 + 0.5) * mixture.block_size as f64 / sequences as f64;
            let x = origin.0 + middle.min(1.0) * (end.0 - origin.0);
            let before = area[..area.len() - 1]
                .iter()
                .rfind(|point| point.0 <= x)
                .unwrap();
            let found = (origin.1 - before.1) / height;
            let counts = schedule.counts(block);
            let expected =
                counts[..=component].iter().sum::<u64>() as f64 / mixture.block_size as f64;
            assert!(
                (found - expected).abs() <= 1.0 / height,
                "component {component}, block {block}: {found}, {expected}"
            );
        }
    }
    for name in mixture.components.iter().map(|component| &component.name) {
        assert!(svg.contains(name.as_str()), "{name} in the legend");
    }
    assert!(
        svg.contains("\nnemotron-hq_actual 5 %\n") && svg.contains("yodas2-en 51.7 → 5 %"),
        "{svg}"
    );
}

#[test]
fn a_corpus_has_one_colour_in_all_pictures() {
    let colour = |mix: &str, name: &str| {
        let mixture = Mixture::open(mix).unwrap();
        let svg = report::stacked_area(&mixture, 4096, 1 << 20).unwrap();
        let number = mixture
            .components
            .iter()
            .rev()
            .position(|c| c.name == name)
            .unwrap();
        let polygon = svg.split("<polygon").nth(number + 1).unwrap();
        polygon.split("fill=\"").nth(1).unwrap()[..7].to_owned()
    };
    assert_eq!(
        colour("pretrain", "yodas2-en"),
        colour("cooldown", "yodas2-en")
    );
    assert_ne!(
        colour("pretrain", "yodas2-en"),
        colour("pretrain", "emilia-en")
    );
    let of_emilia = Mixture::open("emilia").unwrap().components;
    let colours: std::collections::BTreeSet<String> = of_emilia
        .iter()
        .map(|c| colour("emilia", &c.name))
        .collect();
    assert_eq!(colours.len(), of_emilia.len());
}

#[test]
fn shares_are_shown_with_what_blocks_make_of_them() {
    let shown: Value = serde_json::from_str(&printed(&[
        "show",
        "pretrain",
        "--block-size",
        "100",
        "--json",
    ]))
    .unwrap();
    let shares = shown["stages"][0]["shares"].as_array().unwrap();
    let counts: Vec<&Value> = shares.iter().map(|share| &share["sequences"]).collect();
    // 14.585, 28.776, 51.639 and 5: rounded down, and two more for the largest
    assert_eq!(counts, [14, 28, 53, 5]);
    assert_eq!(shares[2]["realised"], 0.53);
    assert!((shares[2]["asked"].as_f64().unwrap() - 0.95 * 131.0 / 241.0).abs() < 1e-12);
    let text = printed(&["show", "pretrain-to-cooldown"]);
    for part in [
        "on the way to those of the next stage",
        "libritts-train",
        "51.639 %",
        "packing concat",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn every_built_in_mixture_is_listed() {
    let text = printed(&["list"]);
    assert_eq!(text.lines().count(), Mixture::names().len());
    for name in Mixture::names() {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
    }
    let listed: Value = serde_json::from_str(&printed(&["list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), Mixture::names().len());
}
