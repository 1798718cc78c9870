//! From KDL text to a checked [`site::Site`], the catalogue of components, editions and chips, and the [`lock::Lock`].
//!
//! A site file goes through three layers, each with types of its own and one rule:
//!
//! 1. typed (`typed.rs`): KDL 2 in which every word is known to the table of the language (`language.rs`); spans kept;
//! 2. checked (`checked.rs`, `rules.rs`): every value is what its kind asks for, and values agree with one another and with the
//!    [`Catalogue`];
//! 3. resolved ([`site::Site`]): ranges expanded, inheritance and defaults applied, spans gone.
//!
//! [`check`] does all three and gives either a site or all faults of the file. `Catalogue::wanted` says what a bundle of the site
//! is made of; with digests that becomes a [`lock::Lock`]. Nothing here does I/O: texts come in, values and texts go out.

pub mod brought;
pub mod catalogue;
mod checked;
pub mod digest;
pub mod fault;
mod kdl_text;
mod language;
pub mod lock;
mod lock_text;
pub mod part;
mod print;
mod range;
mod recipe;
pub mod reference;
mod resolve;
mod rules;
pub mod site;
mod typed;
mod value;
mod wanted;

pub use catalogue::Catalogue;
pub use digest::Digest;
pub use fault::{Fault, Faults, Severity, Span};
pub use print::print;
pub use wanted::WantedError;

/// A site file that can be used.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The site that it describes.
    pub site: site::Site,
    /// What a person should look at; empty most of the time.
    pub warnings: Faults,
}

/// Checks the text of a site file. `source_name` is what faults call it. Gives all faults of the text at once, warnings among them.
pub fn check(source_name: &str, text: &str, catalogue: &Catalogue) -> Result<Checked, Faults> {
    let (file, mut faults) = typed::read(text, &language::FILE);
    let checked = checked::check_values(&file, &mut faults);
    if let Some(checked) = &checked {
        rules::check(checked, catalogue, &mut faults);
    }
    let faults = Faults::new(source_name, text, faults);
    match checked {
        Some(checked) if !faults.has_errors() => {
            Ok(Checked { site: resolve::resolve(&checked, catalogue), warnings: faults })
        }
        _ => Err(faults),
    }
}
