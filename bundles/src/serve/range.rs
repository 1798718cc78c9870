//! The `Range` header (RFC 9110, section 14): one range of bytes. Several ranges at once, and units other than bytes, are not for us and ignored, as the
//! RFC allows.

use std::ops::Range;

/// What a `Range` header means for some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them.
    Whole,
    /// A part.
    Part(Range<u64>),
    /// Nothing that is there.
    Outside,
}

impl Wanted {
    /// Reads the header's value for `size` bytes.
    pub(crate) fn parse(header: Option<&str>, size: u64) -> Self {
        let set = header.and_then(|header| header.strip_prefix("bytes=")).map(str::trim);
        let Some((first, last)) = set.and_then(|set| set.split_once('-')) else { return Self::Whole };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Self::Whole,
            (Some(first), _) if first >= size && (last.is_empty() || number(last).is_some()) => Self::Outside,
            (Some(first), Some(last)) => Self::Part(first..last.saturating_add(1).min(size)),
            (Some(first), None) if last.is_empty() => Self::Part(first..size),
            (None, Some(0)) if first.is_empty() => Self::Outside,
            (None, Some(_)) if first.is_empty() && size == 0 => Self::Outside,
            (None, Some(count)) if first.is_empty() => Self::Part(size.saturating_sub(count)..size),
            _ => Self::Whole,
        }
    }
}

/// Digits only: a sign is no part of a number here.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_mean_ranges() {
        let wanted = |header| Wanted::parse(Some(header), 100);
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("bytes=90-", 90..100),
            ("bytes=90-500", 90..100),
            ("bytes=-5", 95..100),
            ("bytes=-500", 0..100),
            ("bytes=0-18446744073709551615", 0..100),
        ] {
            assert_eq!(wanted(header), Wanted::Part(range), "{header}");
        }
        for header in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(wanted(header), Wanted::Outside, "{header}");
        }
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "items=0-1",
            "bytes=9-8",
            "bytes=a-b",
            "bytes=0-1,4-5",
            "bytes=+1-2",
            "bytes=1-x",
            "bytes=200-x",
        ] {
            assert_eq!(wanted(header), Wanted::Whole, "{header}");
        }
        assert_eq!(Wanted::parse(None, 100), Wanted::Whole);
        assert_eq!(Wanted::parse(Some("bytes=0-"), 0), Wanted::Outside);
        assert_eq!(Wanted::parse(Some("bytes=-1"), 0), Wanted::Outside);
    }
}
