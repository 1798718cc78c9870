//! Writes the seeds of all targets: `seeds FOLDER`.

#![allow(clippy::unwrap_used, reason = "a chore that cannot go on should stop")]

fn main() {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    for target in qiji_fuzz::TARGETS {
        let place = folder.join(target.name);
        fs_err::create_dir_all(&place).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs_err::write(place.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
