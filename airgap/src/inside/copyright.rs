//! The licence of a Debian package, from its `copyright` file.
//!
//! 1. Where the file is machine-readable (DEP-5, `copyright-format/1.0`), the licences of all its `Files:` paragraphs hold at once. A name that SPDX
//!    has too becomes SPDX's; any other becomes `LicenseRef-PACKAGE-NAME`, with the text that the file gives.
//! 2. Where it is prose, the common licences that it points to hold, and with them `LicenseRef-PACKAGE-copyright`, whose text is the whole file.
//!
//! The file speaks of the whole source package, so a licence of a part that the binary package does not have is named as well: more than what
//! applies, never less.

use std::collections::{BTreeMap, BTreeSet};

use qiji_blueprint::part::all_of;

/// Where prose points to for a text that it does not repeat.
const COMMON: &str = "/usr/share/common-licenses/";

/// Expression, and texts by their `LicenseRef-…`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Licence {
    pub(super) expression: Option<String>,
    pub(super) texts: BTreeMap<String, String>,
}

/// Reads the file of `package`.
pub(super) fn read(package: &str, text: &str) -> Licence {
    let paragraphs = paragraphs(text);
    let machine_readable = paragraphs.first().is_some_and(|first| first.contains_key("Format"));
    if machine_readable { by_fields(package, &paragraphs) } else { by_prose(package, text) }
}

type Paragraph = BTreeMap<String, String>;

/// Fields of each paragraph (`deb822`); the lines of a value are joined by line breaks, without their indent.
pub(super) fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut all = vec![Paragraph::new()];
    let mut last: Option<String> = None;
    for line in text.lines() {
        if line.trim().is_empty() {
            (last, all) = (None, started(all));
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|key| all.last_mut()?.get_mut(key)) {
                value.extend(["\n", line.trim()]);
            }
        } else if let Some((key, value)) = line.split_once(':')
            && let Some(paragraph) = all.last_mut()
        {
            paragraph.insert(key.to_owned(), value.trim().to_owned());
            last = Some(key.to_owned());
        }
    }
    all.retain(|paragraph| !paragraph.is_empty());
    all
}

fn started(mut all: Vec<Paragraph>) -> Vec<Paragraph> {
    if all.last().is_some_and(|last| !last.is_empty()) {
        all.push(Paragraph::new());
    }
    all
}

fn by_fields(package: &str, paragraphs: &[Paragraph]) -> Licence {
    let mut texts = BTreeMap::new();
    let mut names = BTreeSet::new();
    for paragraph in paragraphs {
        let Some(field) = paragraph.get("License") else { continue };
        let (name, text) = field.split_once('\n').unwrap_or((field, ""));
        if !text.is_empty() {
            texts.insert(name.trim().to_owned(), text.to_owned());
        }
        if paragraph.contains_key("Files") && !name.trim().is_empty() {
            names.insert(name.trim().to_owned());
        }
    }
    let mut translator = Translator { package, given: &texts, texts: BTreeMap::new() };
    let expressions: Vec<_> = names.iter().map(|name| translator.expression(name)).collect();
    let expression = all_of(expressions.iter().map(|one| Some(one.as_str())));
    Licence { expression, texts: translator.texts }
}

/// Turns DEP-5's names into SPDX's.
struct Translator<'a> {
    package: &'a str,
    /// Texts by DEP-5's names.
    given: &'a BTreeMap<String, String>,
    /// Texts by `LicenseRef-…`.
    texts: BTreeMap<String, String>,
}

impl Translator<'_> {
    /// `A and B`, `A or B, and C`: `and` binds more than `or`, but less than either after a comma.
    fn expression(&mut self, text: &str) -> String {
        for operator in [", and ", ", or ", " or ", " and "] {
            let terms: Vec<_> = text.split(operator).collect();
            if terms.len() > 1 {
                let terms: Vec<_> = terms.iter().map(|term| self.term(term)).collect();
                return terms.join(&operator.trim_start_matches(',').to_uppercase());
            }
        }
        self.name(text.trim())
    }

    fn term(&mut self, text: &str) -> String {
        let inner = self.expression(text);
        if inner.contains(" AND ") || inner.contains(" OR ") { format!("({inner})") } else { inner }
    }

    fn name(&mut self, name: &str) -> String {
        spdx_name(name).unwrap_or_else(|| {
            let reference = reference(self.package, name);
            let given = self.given.get(name).cloned();
            let text = given
                .unwrap_or_else(|| format!("{name} (the package's copyright file does not give its text)"));
            self.texts.insert(reference.clone(), text);
            reference
        })
    }
}

/// `LicenseRef-` and letters, digits, `.` and `-`.
fn reference(package: &str, name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    format!("LicenseRef-{package}-{name}").chars().map(safe).collect()
}

/// SPDX's name of a licence that DEP-5 names: `GPL-2+` is `GPL-2.0-or-later`, `Expat` is `MIT`.
fn spdx_name(name: &str) -> Option<String> {
    match name {
        "Expat" => return Some("MIT".to_owned()),
        "CC0" => return Some("CC0-1.0".to_owned()),
        _ => {}
    }
    let (base, later) = name.strip_suffix('+').map_or((name, false), |base| (base, true));
    let dotted = if base.ends_with(|c: char| c.is_ascii_digit()) && !base.contains('.') { ".0" } else { "" };
    let gnu = ["GPL-", "LGPL-", "AGPL-", "GFDL-"].iter().any(|start| base.starts_with(start));
    let end = match (gnu, later) {
        (true, true) => "-or-later",
        (true, false) => "-only",
        (false, false) => "",
        (false, true) => return None,
    };
    let wanted = format!("{base}{dotted}{end}");
    let known = spdx::identifiers::LICENSES.iter().find(|known| known.name.eq_ignore_ascii_case(&wanted));
    known.map(|known| known.name.to_owned())
}

fn by_prose(package: &str, text: &str) -> Licence {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let later = words.contains("any later version");
    let named = |rest: &str| -> Option<String> {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        spdx_name(&format!("{name}{}", if later { "+" } else { "" })).or_else(|| spdx_name(name))
    };
    let mut licences: BTreeSet<String> = words.split(COMMON).skip(1).filter_map(named).collect();
    let reference = reference(package, "copyright");
    licences.insert(reference.clone());
    let expression = all_of(licences.iter().map(|one| Some(one.as_str())));
    Licence { expression, texts: BTreeMap::from([(reference, text.trim().to_owned())]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
        Upstream-Name: x\nLicense: Beerware\n\nFiles: *\nCopyright: 2020 A\nLicense: GPL-2+ or LGPL-3+\n\n\
        Files: a.c\nLicense: own licence, and Expat\n\nFiles: b.c\nLicense: BSD-3-clause\n ignored\n\n\
        License: own licence\n Do\n .\n as you like.\n";

    #[test]
    fn names_are_translated_and_unknown_ones_keep_their_text() {
        let found = read("libx", FIELDS);
        let expected = "(GPL-2.0-or-later OR LGPL-3.0-or-later) AND BSD-3-Clause AND LicenseRef-libx-own-licence AND MIT";
        assert_eq!(found.expression.as_deref(), Some(expected));
        let text = found.texts.get("LicenseRef-libx-own-licence").map(String::as_str);
        assert_eq!((found.texts.len(), text), (1, Some("Do\n.\nas you like.")));
        assert!(spdx::Expression::parse(expected).is_ok());
    }

    #[test]
    fn prose_counts_with_the_common_licences_it_points_to() {
        let text = "This is x.\n\nYou may use it under the LGPL, version 2.1 or (at your option) any later\nversion, \
            see /usr/share/common-licenses/LGPL-2.1.\n";
        let found = read("libc6", text);
        assert_eq!(found.expression.as_deref(), Some("LGPL-2.1-or-later AND LicenseRef-libc6-copyright"));
        assert_eq!(found.texts["LicenseRef-libc6-copyright"], text.trim());
    }

    #[test]
    fn debian_names_that_spdx_has() {
        let pairs = [
            ("GPL-2", "GPL-2.0-only"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("Apache-2.0", "Apache-2.0"),
            ("Artistic-2", "Artistic-2.0"),
            ("ISC", "ISC"),
        ];
        for (debian, spdx) in pairs {
            assert_eq!(spdx_name(debian).as_deref(), Some(spdx), "{debian}");
        }
        for other in ["public-domain", "MIT/X11", "GPL", "Perl+", ""] {
            assert_eq!(spdx_name(other), None, "{other}");
        }
    }
}
