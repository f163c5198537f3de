//! The command line, and the plan that follows from it.

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use versus::driver::{Allocator, Json, Selection, Set, Sets};
use versus::form::Form;
use versus::workload::{Scale, Workload};

use crate::allocators::{CANDIDATES, Candidate};

/// Real workloads under system malloc and under poolmalloc, side by side.
///
/// Every workload runs in a process of its own, under each allocator in turn; the table has medians over the rounds.
#[derive(Debug, Parser)]
#[command(name = "versus", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// Compare this allocator with system malloc, or a mode of poolmalloc with poolmalloc; may be given more than once
    /// [default: poolmalloc]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(candidate_names()))]
    allocator: Vec<String>,

    /// Print the allocator's own statistics after this workload, or after none [default: json, if it was run]
    #[arg(long, value_name = "WORKLOAD", value_parser = PossibleValuesParser::new(report_names()))]
    report: Option<String>,
}

const NO_REPORT: &str = "none";
const USUAL_REPORT: &str = "json";

fn candidate_names() -> impl Iterator<Item = &'static str> {
    CANDIDATES.iter().map(|candidate| candidate.allocator.name)
}

fn report_names() -> impl Iterator<Item = &'static str> {
    let workloads = Set::all().flat_map(Set::workloads);
    workloads.map(|workload| workload.name).chain([NO_REPORT])
}

/// What to run and what to print.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) rounds: u32,
    pub(crate) form: Form,
    pub(crate) scale: Scale,
    pub(crate) report: Option<&'static Workload>,
    pub(crate) json: Json,
    pub(crate) workers: Workers,
}

/// Whether the workers are built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    Build,
    AsTheyAre,
}

impl Plan {
    /// All allocators that have to run, each once, baselines first.
    pub(crate) fn allocators(&self) -> Vec<Allocator> {
        let mut allocators = Vec::new();
        let baselines = self.candidates.iter().map(|candidate| candidate.baseline);
        for allocator in baselines.chain(self.candidates.iter().map(|candidate| candidate.allocator)) {
            if !allocators.contains(&allocator) {
                allocators.push(allocator);
            }
        }
        allocators
    }
}

impl Cli {
    /// Makes the plan. Checks what the parser cannot check.
    pub(crate) fn into_plan(self) -> Result<Plan, clap::Error> {
        let workloads = self.selection.workloads();
        let workloads = workloads.map_err(|message| Self::command().error(ErrorKind::InvalidValue, message))?;
        let report = match &self.report {
            None => workloads.iter().copied().find(|workload| workload.name == USUAL_REPORT),
            Some(name) => Set::find(name),
        };
        let wanted = |candidate: &Candidate| self.allocator.iter().any(|name| name == candidate.allocator.name);
        let mut candidates: Vec<_> = CANDIDATES.into_iter().filter(wanted).collect();
        if candidates.is_empty() {
            candidates.push(CANDIDATES[0]);
        }
        Ok(Plan {
            workloads,
            candidates,
            rounds: self.selection.rounds(),
            form: self.selection.form,
            scale: self.selection.scale(),
            report,
            json: self.selection.json(),
            workers: if self.selection.no_build { Workers::AsTheyAre } else { Workers::Build },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan, clap::Error> {
        Cli::try_parse_from([&["versus"], args].concat())?.into_plan()
    }

    #[test]
    fn without_options_everything_runs() {
        let plan = plan(&[]).expect("no options are needed");
        assert_eq!((plan.workloads.len(), plan.rounds, plan.scale), (Set::Real.workloads().len(), 5, Scale::FULL));
        assert_eq!(plan.report.map(|workload| workload.name), Some("json"));
        assert_eq!((plan.json, plan.workers, plan.form), (Json::Nowhere, Workers::Build, Form::Own));
    }

    #[test]
    fn a_mode_is_compared_with_the_usual_one() {
        let names = |args| plan(args).expect("good names").allocators().iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(&[]), ["system", "poolmalloc"]);
        assert_eq!(names(&["--allocator", "poolmalloc-debug"]), ["poolmalloc", "poolmalloc-debug"]);
        let both = ["--allocator", "poolmalloc", "--allocator", "poolmalloc-debug"];
        assert_eq!(names(&both), ["system", "poolmalloc", "poolmalloc-debug"]);
    }

    #[test]
    fn a_set_can_be_chosen() {
        let plan = plan(&["--set", "synthetic"]).expect("a good option");
        assert_eq!(plan.workloads.len(), Set::Synthetic.workloads().len());
        assert!(plan.report.is_none(), "json is not among them");
    }

    #[test]
    fn the_form_can_be_chosen() {
        assert_eq!(plan(&["--form", "library"]).expect("a good option").form, Form::Library);
    }

    #[test]
    fn filters_add_up() {
        let plan = plan(&["--filter", "rc_", "--filter", "hello", "--quick"]).expect("these are good options");
        let names: Vec<_> = plan.workloads.iter().map(|workload| workload.name).collect();
        assert_eq!(names, ["rc_tree", "rc_graph", "hello"]);
        assert_eq!((plan.rounds, plan.scale), (3, Scale::QUICK));
        assert!(plan.report.is_none(), "json is not among them");
    }

    #[test]
    fn the_report_can_be_chosen_or_left_out() {
        let report = |name| plan(&["--report", name]).expect("a good name").report.map(|workload| workload.name);
        assert_eq!(report("syn"), Some("syn"));
        assert_eq!(report("none"), None);
    }

    #[test]
    fn json_goes_to_a_file_or_to_stdout() {
        assert_eq!(plan(&["--json"]).expect("a good option").json, Json::Stdout);
        assert_eq!(plan(&["--json", "out.json"]).expect("a good option").json, Json::File("out.json".into()));
    }

    #[test]
    fn bad_input_is_refused() {
        for args in [
            &["--rounds", "0"][..],
            &["--rounds", "many"],
            &["--filter", "no such"],
            &["--set", "no such"],
            &["--form", "no such"],
            &["--set", "synthetic", "--filter", "json"],
            &["--report", "no such"],
            &["--allocator", "no such"],
            &["stray"],
        ] {
            assert_eq!(plan(args).expect_err("bad input").exit_code(), 2, "{args:?}");
        }
    }
}
