//! Pure planning: from a site, a bundle's inventory and the facts of the hosts to findings and a plan. No I/O.

pub mod action;
mod draft;
pub mod error;
pub mod facts;
pub mod found;
pub mod install;
pub mod inventory;
pub mod paths;
pub mod plan;
pub mod preflight;
pub mod reset;
#[cfg(test)]
mod testing;
pub mod text;
pub mod trust;

pub use action::{Action, BlobRef, Condition, Content, ImportedImage, StepId};
pub use error::{PlanError, PlanErrors};
pub use facts::Facts;
pub use found::{Found, FoundFile, FoundImage};
pub use install::install_plan;
pub use inventory::{HostImage, HostPackage, Inventory, Offer};
pub use plan::{Plan, Step};
pub use preflight::{Answer, ChipNeeds, Finding, Measure, Severity, preflight};
pub use reset::reset_plan;
pub use text::render_text;
pub use trust::remembering;
