//! Pure planning: from a site, a bundle's inventory and the facts of the hosts to findings and a plan. No I/O.

pub mod action;
pub mod facts;
pub mod plan;

pub use action::{Action, BlobRef, Condition, Content, ImportedImage, StepId};
pub use facts::Facts;
pub use plan::{Plan, Step};
