//! A bundle on volumes, as the commands show it.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod desk;
mod volumes;
