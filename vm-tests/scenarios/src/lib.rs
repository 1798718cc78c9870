//! What the whole-system scenarios stand on: the product as it is released, one bundle of the quickstart site that they
//! share, and hosts to install it on.
//!
//! The product's folder comes from `QIJI_PRODUCT` (`cargo xtask test` sets it). Everything that is made lies under
//! `target/xtask/scenarios`; keys and bundle are made once and reused while they fit the product.
//!
//! A scenario owns its [`Field`]: hosts, state folder and all go away with it, also when it fails.

mod bundle;
mod difference;
mod field;
mod product;

pub use bundle::Bundle;
pub use difference::{blob, difference, first_byte};
pub use field::{Field, quickstart_hosts};
pub use product::{Product, Run, workspace};
