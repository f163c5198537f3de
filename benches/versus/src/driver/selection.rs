//! The options that all drivers have: what to run, how often, and where the figures go.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::workload::{Scale, Workload};
use crate::workloads::Set;

/// What to run, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Rounds that count; one short round before them does not [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Which workloads: programs, or loops that isolate one thing each
    #[arg(long, value_enum, default_value_t = Set::Real)]
    set: Set,

    /// Only workloads whose name contains this text; may be given more than once
    #[arg(long, value_name = "SUBSTR")]
    filter: Vec<String>,

    /// A quarter of the work, 3 rounds
    #[arg(long)]
    quick: bool,

    /// Print the workloads, one line each, and stop
    #[arg(long)]
    pub list: bool,

    /// Write all rounds and the summary as JSON into FILE; without FILE to stdout, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<Option<PathBuf>>,

    /// Take the workers as they are instead of building them first
    #[arg(long)]
    pub no_build: bool,
}

/// Where the JSON goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// Nowhere: only the table is printed.
    Nowhere,
    /// To stdout, instead of the table.
    Stdout,
    /// Into this file, beside the table.
    File(PathBuf),
}

impl Json {
    /// Writes the record to its destination. Returns whether the table is wanted too.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, record: &impl Serialize) -> Result<bool> {
        fn write(record: &impl Serialize, mut to: impl Write) -> Result<()> {
            serde_json::to_writer_pretty(&mut to, record)?;
            writeln!(to)?;
            Ok(to.flush()?)
        }
        match self {
            Self::Nowhere => Ok(true),
            Self::Stdout => {
                write(record, std::io::stdout().lock()).context("cannot write the JSON")?;
                Ok(false)
            }
            Self::File(path) => {
                let file = File::create(path).map_err(anyhow::Error::from);
                file.and_then(|file| write(record, BufWriter::new(file)))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(true)
            }
        }
    }
}

impl Selection {
    /// The workloads that the options select.
    ///
    /// # Errors
    /// If there are none. The error is the message for the user.
    pub fn workloads(&self) -> Result<Vec<&'static Workload>, String> {
        let chosen = |workload: &&Workload| {
            self.filter.is_empty() || self.filter.iter().any(|part| workload.name.contains(part.as_str()))
        };
        let workloads: Vec<_> = self.set.workloads().iter().filter(chosen).collect();
        if workloads.is_empty() {
            let (set, parts) = (self.set.name(), self.filter.join(" or "));
            return Err(format!("no workload's name contains {parts} in the set {set} (--list shows them)"));
        }
        Ok(workloads)
    }

    /// Prints the set's workloads, one line each.
    pub fn print_list(&self) {
        for workload in self.set.workloads() {
            println!("{:<16} {:<8} {}", workload.name, workload.group.name(), workload.about);
        }
    }

    /// Number of rounds that count.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Share of each workload that runs.
    pub fn scale(&self) -> Scale {
        if self.quick { Scale::QUICK } else { Scale::FULL }
    }

    /// Where the JSON goes.
    pub fn json(&self) -> Json {
        self.json.clone().map_or(Json::Nowhere, |file| file.map_or(Json::Stdout, Json::File))
    }
}
