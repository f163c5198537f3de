//! The workloads of a worker of this package, in the form that the feature `library-form` chooses. Each worker includes
//! this file.

use versus::form::{Form, Workloads};
#[cfg(feature = "library-form")]
use versus::workloads;

#[cfg(not(feature = "library-form"))]
#[path = "workloads/mod.rs"]
pub mod workloads;

const FORM: Form = if cfg!(feature = "library-form") { Form::Library } else { Form::Own };

/// All workloads.
pub static WORKLOADS: Workloads = Workloads { form: FORM, sets: &workloads::SETS };
