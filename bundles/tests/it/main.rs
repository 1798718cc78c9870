//! Bundles from outside: what is written can be read, and whatever is changed is found.

mod attacks;
mod fixture;
mod flips;
mod keys;
mod roundtrip;
mod tools;
