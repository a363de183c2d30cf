//! Which crate may know of which: data flows from recordings to models, and so do imports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates of the workspace that each crate may depend on, and why no others.
const ALLOWED: [(&str, &[&str], &str); 12] = [
    (
        "shards",
        &[],
        "it is the contract between tokenizing and training, and knows neither audio nor tensors",
    ),
    (
        "encodec-rs",
        &["kernels"],
        "codecs know samples and codes, nothing of corpora or training",
    ),
    ("audio", &[], "it knows files and samples only"),
    (
        "stores",
        &["servers"],
        "it knows where files are, and not what is in them; its tests ask servers",
    ),
    ("kernels", &[], "they know tensors only"),
    (
        "tokenize",
        &["audio", "encodec-rs", "servers", "shards", "stores"],
        "it ends where shards begin; its tests ask servers",
    ),
    (
        "mixes",
        &["servers", "shards", "stores"],
        "it reads shards, wherever they are, without audio or tensors; its tests ask servers",
    ),
    (
        "experiments",
        &["mixes", "shards"],
        "they are data that the trainer reads",
    ),
    (
        "pretrain",
        &[
            "audio",
            "encodec-rs",
            "experiments",
            "kernels",
            "mixes",
            "shards",
            "stores",
        ],
        "training reads shards and never tokenizes",
    ),
    (
        "isoflop",
        &["experiments", "mixes", "pretrain", "shards"],
        "it plans runs of the trainer",
    ),
    (
        "tests",
        &[
            "audio",
            "encodec-rs",
            "experiments",
            "isoflop",
            "kernels",
            "mixes",
            "pretrain",
            "servers",
            "shards",
            "stores",
            "tokenize",
        ],
        "it may use every crate",
    ),
    ("servers", &[], "they answer whoever asks"),
];

/// The members of the workspace, as cargo sees them.
fn members() -> Vec<Value> {
    let manifest = tests::repo_root().join("Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(manifest);
    let mut metadata: Value = serde_json::from_str(&tests::run_ok(&mut cargo)).unwrap();
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata gives no list of packages but {other}"),
    }
}

/// The forbidden ones among `edges`, each with the rule it breaks.
fn violations(edges: &[(String, String)]) -> Vec<String> {
    let rules: BTreeMap<_, _> = ALLOWED
        .into_iter()
        .map(|(name, allowed, why)| (name, (allowed, why)))
        .collect();
    let mut broken = Vec::new();
    for (from, to) in edges {
        match rules.get(from.as_str()) {
            None => broken.push(format!(
                "{from} -> {to}: {from} has no rule; add it to ALLOWED in this test"
            )),
            Some((allowed, _)) if allowed.contains(&to.as_str()) => {}
            Some((allowed, why)) => broken.push(format!(
                "{from} -> {to}: {from} may use {allowed:?} only: {why}"
            )),
        }
    }
    broken
}

#[test]
fn imports_follow_the_data() {
    let mut edges = Vec::new();
    for package in members() {
        let name = package["name"].as_str().unwrap();
        // dependencies of a path are those on members; dev-dependencies count too
        let dependencies = package["dependencies"].as_array().unwrap();
        let ours = dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string());
        edges.extend(ours.map(|dependency| {
            (
                name.to_owned(),
                dependency["name"].as_str().unwrap().to_owned(),
            )
        }));
    }
    assert!(
        edges.contains(&("tokenize".into(), "shards".into())),
        "no edges were found: {edges:?}"
    );
    let broken = violations(&edges);
    assert!(
        broken.is_empty(),
        "dependencies against the direction of the data:\n{}",
        broken.join("\n")
    );
}

#[test]
fn every_member_has_a_rule() {
    let mut names: Vec<_> = members()
        .iter()
        .map(|p| p["name"].as_str().unwrap().to_owned())
        .collect();
    let mut ruled = ALLOWED.map(|(name, ..)| name.to_owned()).to_vec();
    names.sort();
    ruled.sort();
    assert_eq!(names, ruled);
}

#[test]
fn a_backward_edge_is_reported_with_its_reason() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let broken = violations(&[
        edge("pretrain", "tokenize"),
        edge("mixes", "shards"),
        edge("shards", "tests"),
    ]);
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(
        broken[0].starts_with("pretrain -> tokenize: pretrain may use"),
        "{broken:?}"
    );
    assert!(
        broken[0].ends_with("training reads shards and never tokenizes"),
        "{broken:?}"
    );
}

fn read_toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of the dependencies in `table` that do not say `workspace = true`, in every section that may hold some.
fn own_versions(table: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        let Some(section) = value.as_table() else {
            continue;
        };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                let own = section
                    .iter()
                    .filter(|(_, d)| d.get("workspace") != Some(&toml::Value::Boolean(true)));
                found.extend(own.map(|(name, _)| name.clone()));
            }
            // [target.'cfg(…)'.dependencies]
            "target" => found.extend(
                section
                    .values()
                    .filter_map(|t| t.as_table())
                    .flat_map(own_versions),
            ),
            _ => {}
        }
    }
    found
}

#[test]
fn every_dependency_comes_from_the_workspace_table() {
    let mut found = Vec::new();
    for package in members() {
        let path = PathBuf::from(package["manifest_path"].as_str().unwrap());
        let own = own_versions(&read_toml(&path));
        found.extend(own.iter().map(|name| format!("{}: {name}", path.display())));
    }
    let cure = "list them in [workspace.dependencies] of the root Cargo.toml and write `NAME.workspace = true`";
    assert!(
        found.is_empty(),
        "versions given outside the workspace table; {cure}:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_version_outside_the_table_is_found() {
    let manifest = "[dependencies]\na.workspace = true\nb = '1'\n[target.'cfg(unix)'.dev-dependencies]\nc = { path = '.' }";
    assert_eq!(own_versions(&manifest.parse().unwrap()), ["b", "c"]);
}

#[test]
fn every_dependency_is_explained() {
    let root = tests::repo_root();
    let workspace = read_toml(&root.join("Cargo.toml"));
    let explained = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let table = workspace["workspace"]["dependencies"].as_table().unwrap();
    let others = table
        .iter()
        .filter(|(_, dependency)| dependency.get("path").is_none());
    let missing: Vec<_> = others
        .map(|(name, _)| name)
        .filter(|name| !explained.contains(&format!("| {name} |")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/dependencies.md has no row for {missing:?}; add why they are used"
    );
}
