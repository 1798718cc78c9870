//! The quickstart bundle that scenarios share, made by the product itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;

use crate::product::workspace;
use crate::{Product, Run};

/// A signed bundle with its keys.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The bundle.
    pub file: PathBuf,
    /// The site file that it was made from.
    pub site: PathBuf,
    /// The public key.
    pub trust: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The file with the key's passphrase.
    pub passphrase: PathBuf,
}

impl Bundle {
    /// The quickstart's bundle, built at the first call of this process.
    pub fn quickstart(product: &Product) -> Result<Self> {
        static MADE: OnceLock<Result<Bundle, String>> = OnceLock::new();
        let made = MADE.get_or_init(|| make(product).map_err(|error| format!("{error:#}")));
        made.clone().map_err(anyhow::Error::msg).context("cannot make the quickstart bundle")
    }

    /// The bundle of another site in `folder`, where archives that it names lie, with the keys of the quickstart's. Artifacts that were fetched are reused.
    pub fn of_site(product: &Product, folder: &Path, site: &str) -> Result<Self> {
        let (file, source) = (folder.join("site.qiji"), folder.join("site.kdl"));
        let bundle = Self { file, site: source, ..Self::quickstart(product)? };
        fs::write(&bundle.site, site)?;
        build(product, &bundle)?;
        Ok(bundle)
    }

    /// The text of the site with this in its platform.
    pub fn site_with(&self, platform: &str) -> Result<String> {
        let site = fs::read_to_string(&self.site)?;
        let open = site.trim_end().strip_suffix('}').context("the site does not end with a brace")?;
        Ok(format!("{open}  platform {{\n{platform}  }}\n}}\n"))
    }
}

fn make(product: &Product) -> Result<Bundle> {
    let folder = workspace().join("target/xtask/scenarios");
    fs::create_dir_all(&folder)?;
    let bundle = Bundle {
        file: folder.join("quickstart-1.0.0.qiji"),
        site: folder.join("quickstart.kdl"),
        trust: folder.join("signer.key.pub"),
        key: folder.join("signer.key"),
        passphrase: folder.join("passphrase"),
    };
    fs::copy(workspace().join("blueprints/examples/quickstart.kdl"), &bundle.site)?;
    if !bundle.key.exists() {
        private_file(&bundle.passphrase, "only for tests\n")?;
        run(qiji(product, &bundle).arg("keygen").arg("--output").arg(&bundle.key))?;
    }
    build(product, &bundle)?;
    Ok(bundle)
}

fn build(product: &Product, bundle: &Bundle) -> Result<()> {
    let folder = bundle.site.parent().context("the site file lies in no folder")?;
    run(qiji(product, bundle).arg("lock").arg(&bundle.site).arg("--artifacts").arg(folder))?;
    let mut build = qiji(product, bundle);
    build.arg("build").arg(&bundle.site).arg("--artifacts").arg(folder).arg("--output").arg(&bundle.file);
    run(build.arg("--key").arg(&bundle.key))
}

fn qiji(product: &Product, bundle: &Bundle) -> Command {
    let mut command = Command::new(product.qiji());
    command.env("QIJI_PASSPHRASE_FILE", &bundle.passphrase);
    command
}

fn run(command: &mut Command) -> Result<()> {
    Run::of(command)?.expect(0).map(drop)
}

/// Writes a file that only its owner may read.
fn private_file(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
