//! The options that all drivers have: what to run, how often, and where the figures go.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Set, Sets};
use crate::form::Form;
use crate::workload::{Scale, Workload};

/// What to run, and how often. `S` has the values of `--set`.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection<S: Sets = Set> {
    /// Rounds that count; one short round before them does not [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Which workloads: programs, or loops that isolate one thing each
    #[arg(long, value_enum, default_value_t)]
    set: S,

    /// The crate that the workloads are compiled into
    #[arg(long, value_enum, default_value_t)]
    pub form: Form,

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

impl<S: Sets> Selection<S> {
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

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;
    use crate::workload::{Group, Run};
    use crate::workloads;

    #[derive(Debug, Parser)]
    struct Cli<S: Sets> {
        #[command(flatten)]
        selection: Selection<S>,
    }

    fn selection<S: Sets>(args: &[&str]) -> Result<Selection<S>, clap::Error> {
        Cli::try_parse_from([&["driver"], args].concat()).map(|cli| cli.selection)
    }

    #[test]
    fn the_form_is_own_or_library() {
        let form = |args: &[&str]| selection::<Set>(args).map(|selection| selection.form);
        assert_eq!(form(&[]).expect("no options are needed"), Form::Own);
        for form_of_name in Form::value_variants() {
            assert_eq!(form(&["--form", form_of_name.name()]).expect("its name"), *form_of_name);
        }
        for args in [&["--form"][..], &["--form", "no such"], &["--form", "own", "--form", "library"]] {
            assert_eq!(form(args).expect_err("bad input").exit_code(), 2, "{args:?}");
        }
    }

    /// The sets of a driver that has one set of its own.
    #[derive(Clone, Copy, Debug, Default, ValueEnum)]
    enum More {
        #[default]
        Real,
        Further,
    }

    static FURTHER: [Workload; 1] = [Workload {
        name: "further",
        group: Group::Program,
        about: "a workload of another package",
        operations: None,
        prepare: |_| -> Run { Box::new(|| 1) },
    }];

    impl Sets for More {
        fn workloads(self) -> &'static [Workload] {
            match self {
                Self::Real => &workloads::ALL,
                Self::Further => &FURTHER,
            }
        }
    }

    #[test]
    fn a_driver_can_have_sets_of_its_own() {
        let names = |args: &[&str]| -> Vec<&str> {
            let selection = selection::<More>(args).expect("good options");
            selection.workloads().expect("some are selected").iter().map(|workload| workload.name).collect()
        };
        assert_eq!(names(&["--filter", "json"]), ["json"]);
        assert_eq!(names(&["--set", "further"]), ["further"]);
        assert!(More::find("further").is_some() && More::find("json").is_some() && More::find("pair_8").is_none());
        assert!(selection::<More>(&["--set", "synthetic"]).is_err());
    }
}
