//! From KDL text to a checked [`site::Site`], the catalogue of components, editions and chips, and the [`lock::Lock`].

pub mod digest;
pub mod lock;
pub mod site;

pub use digest::Digest;
