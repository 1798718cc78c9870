//! Lists in pages (distribution specification, "Listing Tags"): `n` is the most entries, `last` the entry after which the page starts.

use form_urlencoded::Serializer;

use super::request::Query;

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<'a> {
    pub(crate) entries: Vec<&'a str>,
    /// Path and query of the next page, where there is one.
    pub(crate) next: Option<String>,
}

/// The page of a sorted list that is asked for at `path`; nothing where `n` is not a number.
pub(crate) fn page<'a>(sorted: impl Iterator<Item = &'a str>, query: &Query, path: &str) -> Option<Page<'a>> {
    let limit = query.n.as_deref().map(str::parse::<usize>).transpose().ok()?;
    let mut rest = sorted.skip_while(|entry| query.last.as_deref().is_some_and(|last| *entry <= last));
    let entries: Vec<&str> = rest.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let more = entries.last().copied().filter(|_| rest.next().is_some());
    let next = more.map(|last| {
        let mut words = Serializer::new(String::new());
        words.append_pair("n", &limit.unwrap_or_default().to_string()).append_pair("last", last);
        if let Some(ns) = &query.ns {
            words.append_pair("ns", ns);
        }
        format!("{path}?{}", words.finish())
    });
    Some(Page { entries, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Option<Page<'static>> {
        page(["a", "b", "c/d", "e"].into_iter(), &Query::parse(query), "/v2/_catalog")
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let mut seen = Vec::new();
        let mut query = "n=2".to_owned();
        loop {
            let page = ask(&query).unwrap();
            seen.extend(page.entries);
            let Some(next) = page.next else { break };
            query = next.split_once('?').unwrap().1.to_owned();
        }
        assert_eq!(seen, ["a", "b", "c/d", "e"]);
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(ask("").unwrap(), Page { entries: vec!["a", "b", "c/d", "e"], next: None });
        assert_eq!(ask("n=0").unwrap(), Page { entries: vec![], next: None });
        assert_eq!(ask("n=4").unwrap().next, None);
        assert_eq!(ask("n=3").unwrap().next.as_deref(), Some("/v2/_catalog?n=3&last=c%2Fd"));
        assert_eq!(ask("last=bb").unwrap().entries, ["c/d", "e"]);
        assert_eq!(ask("last=z&n=1").unwrap().entries, [""; 0]);
        assert_eq!(ask("n=-1"), None);
        assert_eq!(ask("n=many"), None);
    }
}
