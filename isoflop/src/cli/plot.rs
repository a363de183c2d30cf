//! `isoflop plot`: figures of a study.

use std::path::PathBuf;

use super::fit::StudyArgs;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  isoflop plot runs.csv --out figures")]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// Folder for the figures, as SVG and PNG, and a page with all of them.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    for path in isoflop::plot::write(&args.study.fit()?, &args.out)? {
        println!("{}", path.display());
    }
    Ok(())
}
