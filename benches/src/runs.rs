//! The same measurement several times over, and the medians of its figures printed.

use std::io::Write as _;

use anyhow::{Context, Result};
use clap::Args;

use crate::program::variable;
use crate::report::{Figure, Report};

/// How often to measure, on what, and in which form to print it.
#[derive(Args, Clone, Debug)]
pub struct Runs {
    /// Runs, each with new processes on new data; the figures are their medians.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// A variable for the environment of what is measured, as NAME=VALUE; repeatable.
    #[arg(long = "env", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Runs {
    /// Measures, and prints the figures of all runs; `tasks` is how many each has.
    ///
    /// # Errors
    /// When a run fails, or nobody takes what is printed.
    pub async fn print(
        &self,
        tasks: usize,
        measure: impl AsyncFn() -> Result<Vec<Figure>>,
    ) -> Result<()> {
        let mut report = Report::default();
        for run in 1..=self.runs {
            let figures = measure()
                .await
                .with_context(|| format!("run {run} of {}", self.runs))?;
            report.add(&figures);
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", report.json())?;
        } else {
            let runs = self.runs;
            writeln!(
                out,
                "median (least – greatest) of {runs} runs, {tasks} tasks each"
            )?;
            write!(out, "{}", report.table())?;
        }
        Ok(())
    }
}
