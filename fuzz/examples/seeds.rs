//! Writes the seeds of all targets: `seeds FOLDER`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("give a folder")?);
    for target in qiji_fuzz::TARGETS {
        let place = folder.join(target.name);
        fs_err::create_dir_all(&place)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs_err::write(place.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
