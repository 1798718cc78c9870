//! One file a verb.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod delta;
pub(crate) mod diff;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod inventory;
pub(crate) mod join;
pub(crate) mod keygen;
pub(crate) mod lock;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod rebuild;
pub(crate) mod rehearse;
pub(crate) mod reset;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod split;
pub(crate) mod status;
pub(crate) mod verify;
