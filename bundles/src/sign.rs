//! Adding signatures to a bundle that is there: keys live on another machine than the one that builds, and a second party signs later.
//!
//! 1. Every byte of the file has been checked ([`Whole`]): nobody signs what is damaged.
//! 2. The envelope gets a signature by each key, beside those that it has. The statement stays as it is.
//! 3. The bundle is written anew, streamed from the old file, and takes its place when it is complete. Signed in one go or one after another,
//!    the same keys give the same bytes.

use std::path::Path;

use crate::Progress;
use crate::dsse::Envelope;
use crate::error::WriteError;
use crate::key::SigningKey;
use crate::read::Whole;
use crate::render;
use crate::write::{Plan, Written, members};

/// Writes `bundle` with signatures by `keys` to `out`, which may be the file itself.
pub fn sign(
    bundle: &Whole,
    keys: &[&SigningKey],
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Written, WriteError> {
    let mut envelope = bundle.envelope().clone();
    envelope.sign(keys);
    plan(bundle, &envelope).write(bundle, out, progress)
}

/// What has to be written for `bundle` to have this envelope.
pub(crate) fn plan(bundle: &Whole, envelope: &Envelope) -> Plan<'static> {
    let contents = bundle.contents();
    Plan::new(members(contents, &mut Vec::new()), render::render(contents), envelope)
}
