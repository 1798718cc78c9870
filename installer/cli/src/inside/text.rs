//! The tables as text: a count of everything, or, where a filter was given, every row that it lets through.

use qiji_blueprint::site::Arch;

use super::{Filter, Inside, UNKNOWN};
use crate::table::Table;

/// Widest that a licence or a list of names is shown in full.
const WIDE: usize = 48;

/// The text.
pub(crate) fn text(inside: &Inside, filter: &Filter) -> String {
    if inside.parts.is_empty() {
        let reason = if filter.is_open() {
            "\nthe bundle does not say what is inside: it has no bills of materials\n"
        } else {
            "nothing inside is like that\n"
        };
        return reason.to_owned();
    }
    if filter.is_open() { counts(inside) } else { rows(inside) }
}

fn counts(inside: &Inside) -> String {
    let mut table = Table::default();
    for (kind, count) in inside.kinds() {
        table.add("inside", [kind.to_string(), count.to_string()]);
    }
    for row in &inside.licences {
        table.add("licences", [row.licence.clone(), row.parts.to_string()]);
    }
    let unknown = inside.parts.iter().filter(|part| part.licence.is_none()).map(|part| part.name.as_str());
    let unknown: Vec<_> = unknown.collect();
    let mut text = table.text();
    if !unknown.is_empty() {
        text.extend([format!("\nno licence is known of {}: {}\n", inside.unknown(), unknown.join(", "))]);
    }
    text.push_str(
        "\n--component, --kind, --arch and --license show parts; --html FILE writes all of it as a page\n",
    );
    text
}

fn rows(inside: &Inside) -> String {
    let mut table = Table::default();
    table.title("artifacts", ["name", "version", "arch", "licence", "from"]);
    for row in &inside.artifacts {
        let licence = row.licence.as_deref().unwrap_or(UNKNOWN);
        let arch = row.arch.map_or("", Arch::as_str);
        let cells = [&row.name, &row.version, arch, &cut(licence), &row.origin];
        table.add("artifacts", cells.map(str::to_owned));
    }
    table.title("parts", ["name", "version", "kind", "licence", "in"]);
    for row in &inside.parts {
        let licence = row.licence.as_deref().unwrap_or(UNKNOWN);
        let artifacts = row.artifacts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let cells = [&row.name, &row.version, row.kind.as_str(), &cut(licence), &cut(&artifacts)];
        table.add("parts", cells.map(str::to_owned));
    }
    table.text()
}

/// A long text up to a word before the limit.
fn cut(text: &str) -> String {
    if text.chars().count() <= WIDE {
        return text.to_owned();
    }
    let head: String = text.chars().take(WIDE).collect();
    let end = head.rfind(' ').unwrap_or(head.len());
    format!("{} …", &head[..end])
}
