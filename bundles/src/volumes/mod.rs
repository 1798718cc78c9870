//! A bundle on several volumes: numbered files that each fit a disc, and parity volumes from which lost or damaged ones are made again. The format
//! is specified in `docs/volume-format.md`.
//!
//! 1. [`split`] cuts a bundle into data volumes of equal size and computes parity volumes over them, sector by sector at the same place of each.
//! 2. [`VolumeSet::open`] finds the volumes of a set by what stands in them, not by their names.
//! 3. The set is a [`Medium`](crate::Medium): what is read is held to a check of each sector, and a sector that does not hold, cannot be read or is
//!    not there is restored from the other volumes on the way.
//! 4. [`VolumeSet::survey`] reads every byte of every volume and says what is damaged; [`VolumeSet::repair`] writes damaged volumes anew.
//!
//! Guarantees: the same bundle, size and parity give the same volumes. A set with as many parity volumes as it has faulty sectors at one place gives the
//! bundle's bytes. Memory does not grow with the bundle. Volumes are read front to back, each byte once, as long as nothing must be restored.
//!
//! Limits: checks of sectors find accidents, not intent. Whoever changes a volume can change its checks too; what protects against that is that the
//! bundle itself is verified over whatever the set gives.

mod code;
mod geometry;
mod join;
mod names;
mod ranges;
mod repair;
mod report;
mod restore;
mod sector;
mod set;
mod split;
mod survey;
mod volume;
mod writer;

pub use self::geometry::Shape;
pub use self::ranges::Ranges;
pub use self::repair::RepairError;
pub use self::report::{Condition, Health, Stray, VolumeHealth};
pub use self::set::{OpenError, VolumeSet};
pub use self::split::{Division, Parity, SplitError, SplitVolumes, split};
pub use self::survey::Hopeless;

pub(crate) use self::names::is_set;
pub(crate) use self::restore::is_unrestorable;
