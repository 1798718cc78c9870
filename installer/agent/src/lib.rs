//! The node agent: a static binary that is pushed to a host once per run and carries out the steps of a plan there.
//!
//! It is spoken to over the standard input and output of an SSH channel in the frames of [`wire`]; it opens no port and leaves
//! no process behind. [`serve`] is its side on the host, [`client`] the installer's. What it changes is recorded first
//! ([`record`]) and journalled ([`journal`]), so that a run can be cut off at any instant, gone on with, and undone.

pub mod client;
pub mod condition;
pub mod deeds;
pub mod facts;
pub mod fault;
pub mod found;
pub mod host;
pub mod journal;
pub mod layer;
pub mod probe;
pub mod program;
pub mod record;
pub mod root;
pub mod serve;
pub mod store;
pub mod wire;

pub use client::{Applied, CallError, Client};
pub use wire::{Failure, Hello, Outcome};
