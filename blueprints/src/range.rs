//! Ranges in names and addresses: `w[01-40]` is `w01` to `w40`, `10.20.1.[1-40]` is forty addresses.
//!
//! A text holds at most one range. The zeros in front of its first number are kept: where the first number has a zero in front,
//! both numbers must have the same count of digits.

/// More hosts than this in one range is taken for a slip.
const MOST: u32 = 5000;

/// A text with at most one range in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    prefix: String,
    suffix: String,
    numbers: Option<Numbers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    first: u32,
    last: u32,
    width: usize,
}

/// What is wrong with a range: message, and a likely fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeFault {
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

fn fault(message: impl Into<String>) -> RangeFault {
    RangeFault { message: message.into(), fix: None }
}

impl Range {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, RangeFault> {
        let (Some(open), close) = (text.find('['), text.find(']')) else {
            if text.contains(']') {
                return Err(fault("`]` has no `[` before it"));
            }
            return Ok(Self { prefix: text.to_owned(), suffix: String::new(), numbers: None });
        };
        let Some(close) = close.filter(|close| *close > open) else {
            return Err(fault("`[` has no `]` after it"));
        };
        let (prefix, inner, suffix) = (&text[..open], &text[open + 1..close], &text[close + 1..]);
        if suffix.contains(['[', ']']) || inner.contains('[') {
            return Err(fault("there may be only one range in a text"));
        }
        let numbers = numbers(prefix, inner, suffix)?;
        Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned(), numbers: Some(numbers) })
    }

    /// How many texts it stands for.
    pub(crate) fn len(&self) -> usize {
        self.numbers.map_or(1, |numbers| (numbers.last - numbers.first) as usize + 1)
    }

    /// Whether it is written as a range.
    pub(crate) fn is_many(&self) -> bool {
        self.numbers.is_some()
    }

    /// The texts that it stands for.
    pub(crate) fn expand(&self) -> Vec<String> {
        let Some(numbers) = self.numbers else { return vec![self.prefix.clone()] };
        (numbers.first..=numbers.last)
            .map(|number| format!("{}{number:0width$}{}", self.prefix, self.suffix, width = numbers.width))
            .collect()
    }
}

fn numbers(prefix: &str, inner: &str, suffix: &str) -> Result<Numbers, RangeFault> {
    let Some((first, last)) = inner.split_once('-') else {
        return Err(fault(format!("`[{inner}]` is not a range of two numbers such as `[1-9]`")));
    };
    let read = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (Some(from), Some(to)) = (read(first), read(last)) else {
        return Err(fault(format!("`[{inner}]` is not a range of two numbers such as `[1-9]`")));
    };
    if from > to {
        let fix = Some(format!("write `{prefix}[{last}-{first}]{suffix}`"));
        return Err(RangeFault { message: format!("the range `[{inner}]` runs backwards"), fix });
    }
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    if (padded(first) || padded(last)) && first.len() != last.len() {
        let width = first.len().max(last.len());
        let fix = Some(format!("write `{prefix}[{from:0width$}-{to:0width$}]{suffix}`"));
        let message =
            format!("the numbers of `[{inner}]` have zeros in front but not the same count of digits");
        return Err(RangeFault { message, fix });
    }
    if to - from >= MOST {
        return Err(fault(format!("the range `[{inner}]` stands for more than {MOST} hosts")));
    }
    Ok(Numbers { first: from, last: to, width: if padded(first) { first.len() } else { 1 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        Range::parse(text).unwrap().expand()
    }

    #[test]
    fn zeros_in_front_are_kept() {
        assert_eq!(expanded("w[08-11]"), ["w08", "w09", "w10", "w11"]);
        assert_eq!(expanded("w[8-11]"), ["w8", "w9", "w10", "w11"]);
        assert_eq!(expanded("w[00-01].x"), ["w00.x", "w01.x"]);
    }

    #[test]
    fn without_brackets_it_is_itself() {
        assert_eq!(expanded("cp1"), ["cp1"]);
        assert!(!Range::parse("cp1").unwrap().is_many());
        assert!(Range::parse("cp[1-1]").unwrap().is_many());
    }

    #[test]
    fn slips_are_told() {
        for text in [
            "w[1-",
            "w1]",
            "w]1[",
            "w[]",
            "w[1]",
            "w[a-b]",
            "w[2-1]",
            "w[01-100]",
            "w[1-2][3-4]",
            "w[-1-2]",
            "w[0-99999]",
        ] {
            assert!(Range::parse(text).is_err(), "{text}");
        }
        assert_eq!(Range::parse("w[9-2]x").unwrap_err().fix.unwrap(), "write `w[2-9]x`");
        assert_eq!(Range::parse("w[01-100]").unwrap_err().fix.unwrap(), "write `w[001-100]`");
    }
}
