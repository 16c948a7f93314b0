//! The configuration file: which keys there are, what is wrong with a file, how it is changed without losing anything, and what a
//! change asks of the processes.

mod check;
mod defaults;
mod document;
mod key_path;
mod legacy;
mod near;
mod need_to_know;
mod plan;
mod redact;
mod reference;
mod rules;
mod schema;
mod sensitive;
mod snapshot;
mod store;
mod table;
mod watch;
mod without_effect;

pub use check::{Problem, check, warnings};
pub use defaults::with_defaults;
pub use document::{Document, EditError, merge_patch};
pub use key_path::{KeyPath, Step};
pub use legacy::{legacy, moved_to};
pub use near::nearest;
pub use need_to_know::{for_process, is_variable_of, variables_of};
pub use plan::{Action, Plan, ReloadMode, SERVICES, Settings, changed_paths};
pub use redact::{Redactor, SENTINEL};
pub use reference::reference;
pub use schema::{Hint, hints, lookup, schema};
pub use snapshot::Snapshot;
pub use store::{Disk, Error, Fs, GENERATIONS_MAX, Generation, Store, Written, content_hash};
pub use watch::Watch;
pub use without_effect::without_effect;
