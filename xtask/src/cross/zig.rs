//! Zig, and programs with other names that call it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use super::{Arch, bin, folder, sysroot};
use crate::run::quiet;
use crate::setup;

const WHEEL: &str = "ziglang==0.17.1";

/// Name of the C compiler of an architecture, as Debian has it.
pub(super) fn name(arch: &Arch) -> String {
    format!("{}-linux-gnu-gcc", arch.machine)
}

/// Installs Zig, and `zig-ar`; gives the program.
pub(super) fn ready() -> Result<PathBuf> {
    let home = folder().join("zig");
    setup::wheel(&home, WHEEL)?;
    let ask = "import ziglang, os; print(os.path.dirname(ziglang.__file__))";
    let package = quiet(Command::new(home.join("bin/python3")).args(["-c", ask]))?;
    let zig = Path::new(package.trim()).join("zig");
    fs::create_dir_all(bin())?;
    script("zig-ar", &format!("exec {} ar \"$@\"\n", zig.display()))?;
    script("zig-ranlib", &format!("exec {} ranlib \"$@\"\n", zig.display()))?;
    Ok(zig)
}

/// Writes the C compiler of an architecture.
///
/// It answers where a library lies, which Zig does not: the C library comes with Zig, so the program itself stands for it. What rustc
/// asks for and Zig brings along unasked is taken out.
pub(super) fn compiler(zig: &Path, arch: &Arch) -> Result<()> {
    let (zig, root) = (zig.display(), sysroot(arch).display().to_string());
    let processor = arch.processor.map(|name| format!(" -mcpu={name}")).unwrap_or_default();
    let target = format!("{}-linux-musl{processor}", arch.machine);
    let text = format!(
        r#"count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    -print-file-name=libc.a) echo "{zig}"; exit ;;
    -print-file-name=*) echo "{root}/lib/${{word#*=}}"; exit ;;
    -lgcc_s | -lgcc_eh | -lgcc | --target=*) ;;
    -Wl,--fix-cortex-a53-843419 | -Wl,-melf*) ;;
    *) set -- "$@" "$word" ;;
    esac
done
exec "{zig}" cc -target {target} -isystem "{root}/include" -L "{root}/lib" "$@"
"#
    );
    script(&name(arch), &text)
}

fn script(name: &str, body: &str) -> Result<()> {
    let (path, text) = (bin().join(name), format!("#!/bin/sh\n{body}"));
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&path, text)?;
    Ok(fs::set_permissions(&path, Permissions::from_mode(0o755))?)
}
