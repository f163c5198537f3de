//! The workloads of a worker of this package, in the form that the feature `library-form` chooses. Each worker includes
//! this file, so all of them compile the same source.

#[cfg(feature = "library-form")]
use peers_programs as programs;
use versus::form::{Form, Workloads};
#[cfg(feature = "library-form")]
use versus::workloads;

#[cfg(not(feature = "library-form"))]
#[path = "../../../versus/src/workloads/mod.rs"]
pub mod workloads;

#[cfg(not(feature = "library-form"))]
#[path = "../../programs/src/lib.rs"]
pub mod programs;

const FORM: Form = if cfg!(feature = "library-form") { Form::Library } else { Form::Own };

/// All workloads.
pub static WORKLOADS: Workloads =
    Workloads { form: FORM, sets: &[&workloads::ALL, &workloads::synthetic::ALL, &programs::ALL] };
