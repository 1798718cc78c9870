//! SPDX licence expressions (SPDX specification 2.3, annex D), brought into their one form.

use spdx::{Expression, ParseMode};

/// An expression as it must be written, where `text` is one or nearly one: crates write `MIT/Apache-2.0`.
pub(super) fn normal(text: &str) -> Option<String> {
    let text = text.trim();
    let written = Expression::canonicalize(text).ok()?.unwrap_or_else(|| text.to_owned());
    Expression::parse_mode(&written, ParseMode { allow_deprecated: true, ..ParseMode::STRICT }).ok()?;
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_get_their_one_form() {
        assert_eq!(normal("MIT/Apache-2.0").as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(normal(" BSD-3-Clause ").as_deref(), Some("BSD-3-Clause"));
        assert_eq!(normal("as you like"), None);
        assert_eq!(normal(""), None);
    }
}
