//! Bundles from outside: what is written can be read, and whatever is changed is found.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod by_hand;
mod charts;
mod damage;
mod delta;
mod diff;
mod fixture;
mod keys;
mod medium;
mod policy;
mod reader;
mod roundtrip;
mod sboms;
mod serve;
mod signing;
mod tools;
mod upstreams;
mod volumes;
