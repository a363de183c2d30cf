use super::*;
use crate::grid::{Rules, target};

fn study(dir: &Path, budgets: &[f64], set: &[&str]) -> Study {
    let rules = Rules::default();
    let grids = budgets.iter().map(|&b| target(&rules, b, &[512, 640]));
    let grids: Vec<_> = grids.collect::<Result<_>>().unwrap();
    let common = Common {
        mix: None,
        set: set.iter().map(|set| set.to_string()).collect(),
    };
    Study::new(dir, &grids, &common).unwrap()
}

#[test]
fn a_study_can_be_written_again_and_gain_budgets() {
    let dir = tempfile::tempdir().unwrap();
    study(dir.path(), &[3e18], &[]).write().unwrap();
    study(dir.path(), &[3e18], &[]).write().unwrap();
    let larger = study(dir.path(), &[3e18, 6e18], &[]);
    larger.write().unwrap();
    let index = Index::read(dir.path()).unwrap();
    assert_eq!(&index, larger.index());
    let names: Vec<_> = index.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["3e18-h512", "3e18-h640", "6e18-h512", "6e18-h640"]);
}

/// Numbers that JSON does not give back to the last digit are no difference.
#[test]
fn a_study_of_many_odd_numbers_can_be_written_again() {
    let rules = Rules {
        vocab: 5124,
        seq_len: 256,
        aimed_steps: 1024,
        min_batch: 1,
        max_lr: 0.03,
        ..Rules::default()
    };
    let widths: Vec<_> = (10..80).step_by(2).collect();
    let grids = [1.5e11, 3e11, 6e11].map(|budget| target(&rules, budget, &widths).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let study = Study::new(dir.path(), &grids, &Common::default()).unwrap();
    study.write().unwrap();
    assert_ne!(study.index(), &study.index().as_read(), "nothing is tested");
    study.write().unwrap();
}

#[test]
fn another_study_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    study(dir.path(), &[3e18, 6e18], &[]).write().unwrap();
    let before = fs::read(dir.path().join("index.json")).unwrap();
    let refused = |study: Study| study.write().unwrap_err().to_string();
    let message = refused(study(dir.path(), &[3e18], &[]));
    assert!(
        message.contains("the run 6e18-h512 is not one"),
        "{message}"
    );
    let message = refused(study(dir.path(), &[3e18, 6e18], &["seed=1"]));
    assert!(
        message.contains("plans/3e18-h512.toml says otherwise"),
        "{message}"
    );
    assert_eq!(fs::read(dir.path().join("index.json")).unwrap(), before);
}

#[test]
fn a_plan_is_an_experiment_that_resolves_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let study = study(dir.path(), &[3e18], &["precision=f32"]);
    study.write().unwrap();
    for (entry, plan) in study.index().runs.iter().zip(study.plans()) {
        let path = dir.path().join(&entry.plan);
        let found = experiments::resolve(path.to_str().unwrap(), &[]).unwrap();
        assert_eq!(&found, plan);
    }
}

#[test]
fn runs_are_found_by_name_and_number() {
    let study = study(Path::new("nowhere"), &[3e18], &[]);
    assert_eq!(study.find("3e18-h640").unwrap(), 1);
    assert_eq!(["0", "1"].map(|number| study.find(number).unwrap()), [0, 1]);
    for wrong in ["2", "-1", "3e18-h513"] {
        let message = study.find(wrong).unwrap_err().to_string();
        assert!(message.contains("3e18-h512, 3e18-h640"), "{message}");
    }
}

#[test]
fn the_array_has_a_task_for_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let study = study(dir.path(), &[3e18], &[]);
    let how = How {
        data: "s3://bucket/data".into(),
        backend: pretrain::backend::BackendChoice::Cpu,
    };
    let path = study.write_array(Path::new("/bin/pretrain"), &how).unwrap();
    let script = fs::read_to_string(path).unwrap();
    let dir = dir.path().display();
    let second = format!(
        "1) command=(/bin/pretrain {dir}/plans/3e18-h640.toml --data s3://bucket/data --out {dir}/runs/3e18-h640 --backend cpu --resume) ;;"
    );
    assert!(script.contains(&second), "{script}");
}
