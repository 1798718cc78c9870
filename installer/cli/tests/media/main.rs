//! A bundle on volumes, and one that is served, as the commands show it.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod desk;
mod serve;
mod volumes;
