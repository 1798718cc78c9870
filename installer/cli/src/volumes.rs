//! How a bundle is cut into volumes, as a person says it, and what is said of volumes that are not whole.

use std::path::{Path, PathBuf};

use qiji_bundle::{Division, Parity, SplitError, VolumeSet, split};

use crate::failure::{Failure, Kind};
use crate::inputs::Meter;
use crate::screen::size;

/// Parity volumes beside those that are cut.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ParityArgs {
    /// Parity volumes beside them, from which as many lost or damaged ones are made again: a number, or so many for a hundred as in `20%`
    #[arg(long, value_name = "N|N%", value_parser = parity, default_value = "0", requires = "volume_size")]
    parity: Parity,
}

impl ParityArgs {
    /// With the size of volumes, how a bundle is cut.
    pub(crate) const fn division(&self, volume_size: u64) -> Division {
        Division { volume_size, parity: self.parity }
    }
}

/// Bytes from words such as `4.7GB`, `650MiB` or `1000000`.
pub(crate) fn volume_size(text: &str) -> Result<u64, String> {
    let fault = || format!("`{text}` is not a size such as 700MB, 4.7GB or 32GiB");
    let digits =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(fault()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| fault())?;
    let thousandths = match part.len() {
        0 if number.ends_with('.') => return Err(fault()),
        0 => 0,
        1..=3 => format!("{part:0<3}").parse::<u64>().map_err(|_| fault())?,
        _ => return Err(fault()),
    };
    let bytes =
        whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(thousandths.checked_mul(unit)? / 1000));
    bytes.ok_or_else(fault)
}

fn parity(text: &str) -> Result<Parity, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|&percent| percent <= 100).map(Parity::Percent),
        None => text.parse().ok().map(Parity::Volumes),
    };
    parsed.ok_or_else(|| format!("`{text}` is neither a number of volumes nor a percentage up to 100%"))
}

/// Cuts a bundle into volumes beside `stem`, and says which.
pub(crate) fn cut(bundle: &Path, stem: &Path, division: Division) -> Result<(), Failure> {
    let mut meter = Meter::new("splitting");
    let written = split(bundle, stem, division, &mut |progress| meter.show(progress))
        .map_err(|error| failed(&error))?;
    drop(meter);
    for (file, bytes) in &written.files {
        println!("{}: {}", file.display(), size(*bytes));
    }
    println!("{} volumes and {} of parity", written.shape.data, written.shape.parity);
    Ok(())
}

fn failed(error: &SplitError) -> Failure {
    match error {
        SplitError::Input { .. } | SplitError::TooSmall { .. } | SplitError::TooMuchParity { .. } => {
            Failure::from_error(Kind::Input, error)
        }
        SplitError::InTheWay(_) => {
            Failure::from_error(Kind::Input, error).hint("move them away, or give another name for these")
        }
        SplitError::Output(_) => Failure::from_error(Kind::Failed, error),
    }
}

/// Says on standard error what was restored on the way, where anything was.
pub(crate) fn warn(volumes: &VolumeSet) {
    let health = volumes.health();
    if !health.is_well() {
        eprint!("{health}");
        eprintln!("the bundle was read all the same; `qiji verify --repair` writes such volumes anew");
    }
}

/// Writes volumes that are not whole anew.
pub(crate) fn repair(volumes: &VolumeSet) -> Result<Vec<PathBuf>, Failure> {
    let mut meter = Meter::new("repairing");
    let repaired = volumes.repair(&mut |progress| meter.show(progress));
    repaired.map_err(|error| Failure::from_error(Kind::Failed, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let good = [
            ("1", 1),
            ("1000000", 1_000_000),
            ("700MB", 700_000_000),
            ("4.7GB", 4_700_000_000),
            ("1.5 GiB", 3 << 29),
            ("2tib", 2 << 40),
            ("0.025kb", 25),
        ];
        for (text, bytes) in good {
            assert_eq!(volume_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "1.", ".5GB", "1.2345GB", "1.2.3", "5 dvds", "99999999TB"] {
            assert!(volume_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parity_is_a_number_or_a_percentage() {
        assert_eq!(parity("2"), Ok(Parity::Volumes(2)));
        assert_eq!(parity("20%"), Ok(Parity::Percent(20)));
        for text in ["", "%", "101%", "-1", "two", "70000"] {
            assert!(parity(text).is_err(), "{text}");
        }
    }
}
