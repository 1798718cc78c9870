//! What a registry answers when it wants a login: the `WWW-Authenticate` header (RFC 9110, section 11.6.1).
//!
//! One header may hold several challenges, and several headers may come. The first that we can answer counts.

/// A challenge that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request (RFC 7617).
    Basic,
    /// A token from another address (distribution's token specification).
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge of a header that is one of ours.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        challenges(header).into_iter().find_map(|(scheme, parameters)| {
            let value = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                let (realm, service, scope) = (value("realm")?, value("service"), value("scope"));
                return Some(Self::Bearer { realm, service, scope });
            }
            scheme.eq_ignore_ascii_case("basic").then_some(Self::Basic)
        })
    }
}

type Parameters = Vec<(String, String)>;

/// Splits a header into schemes with their parameters. What is not understood ends the list.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let Some((word, after)) = token(rest) else { break };
        rest = after.trim_start_matches([' ', '\t']);
        if let (Some(value), Some((_, parameters))) = (rest.strip_prefix('='), all.last_mut()) {
            let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else { break };
            parameters.push((word.to_owned(), value));
            rest = after;
        } else {
            all.push((word.to_owned(), Vec::new()));
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    all
}

/// The token (RFC 9110, section 5.6.2) at the start of a text, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (!word.is_empty()).then_some((word, rest))
}

/// A token or a quoted string (RFC 9110, section 5.6.4) at the start of a text, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[at + 1..])),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
        Challenge::Bearer { realm: realm.to_owned(), service, scope }
    }

    #[test]
    fn challenges_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        let found = Challenge::parse(hub).unwrap();
        assert_eq!(
            found,
            bearer("https://auth.example/token", Some("registry.example"), Some("repository:a/b:pull"))
        );
        assert_eq!(Challenge::parse(r#"Basic realm="a, b""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("basic"), Some(Challenge::Basic));
        assert_eq!(
            Challenge::parse(r#"Negotiate, Digest realm="x", nonce=1, BEARER realm = "https://t" "#),
            Some(bearer("https://t", None, None))
        );
        assert_eq!(Challenge::parse(r#"Bearer realm="a\"b""#), Some(bearer("a\"b", None, None)));
    }

    #[test]
    fn what_cannot_be_answered_is_none() {
        for header in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"open", "=x", "é"] {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "\\PC{0,60}|[a-zA-Z\",=\\\\ ]{0,60}") {
            let _ = Challenge::parse(&header);
        }

        #[test]
        fn what_is_written_is_read(realm in "[ -~]{0,30}", service in "[a-z.:/]{1,20}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{quoted}\", service=\"{service}\"");
            prop_assert_eq!(Challenge::parse(&header), Some(bearer(&realm, Some(&service), None)));
        }
    }
}
