//! The catalogue: what qiji knows about chips, accelerators, editions, cores and components. It is data, written in KDL under
//! `catalogue/` and built into the binary; adding a chip or a component needs no Rust.
//!
//! A *core* is a version of Kubernetes together with the versions of all components that every cluster of it has. A *component*
//! says for each of its versions what artifacts it is made from and how layers, images and packages are put together from them.
//! Names in a component may refer to what another component has: the image of flannel uses the layer of nftables.

use std::collections::{BTreeMap, BTreeSet};

use include_dir::{Dir, include_dir};

use crate::fault::{Fault, Faults, Spanned};
use crate::lock::{ImageContent, LayerEntry, PackageContent, Source};
use crate::recipe::{
    self, ARCHITECTURES, IMAGE_CHILDREN, LAYER_CHILDREN, PACKAGE_CHILDREN, SOURCE_CHILDREN, argument,
    arguments, child, first, optional, property, required, word,
};
use crate::site::{Arch, Role};
use crate::typed::{self, Entry, Kind, Times, Word};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/catalogue");

/// All that qiji knows.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Facts about architectures that file names and package sources depend on.
    pub architectures: BTreeMap<Arch, Architecture>,
    /// Accelerator vendors, by name.
    pub accelerators: BTreeMap<String, Accelerator>,
    /// Chips, by name.
    pub chips: BTreeMap<String, Chip>,
    /// Editions, by name.
    pub editions: BTreeMap<String, Edition>,
    /// Cores, by version of Kubernetes.
    pub cores: BTreeMap<semver::Version, Core>,
    /// Components by name, and their versions by what the component itself calls them.
    pub components: BTreeMap<String, Component>,
}

/// An architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    /// Debian's name for its library folder, such as `x86_64-linux-gnu`.
    pub triplet: String,
    /// Folder under `/usr` in which programs look for the dynamic loader: `lib` or `lib64`.
    pub library_folder: String,
    /// File name of the dynamic loader.
    pub loader: String,
    /// Debian suite that has the architecture.
    pub debian: String,
}

/// A vendor of accelerator cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerator {
    /// What people call it.
    pub about: String,
    /// PCI vendor id, four hexadecimal digits, by which its cards are found.
    pub pci: String,
}

/// A processor, or a family of processors that is all alike to qiji.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// What people call it.
    pub about: String,
    /// Its architecture.
    pub arch: Arch,
    /// Sizes of a memory page, in bytes, with which its kernels are built.
    pub page_sizes: Vec<u64>,
    /// The oldest kernel that qiji installs on, `MAJOR.MINOR`.
    pub kernel: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// What it is for.
    pub about: String,
    /// Components that it may hold; `None` where it may hold any.
    pub components: Option<BTreeSet<String>>,
    /// Kinds of signature that must all verify, `ed25519` and `sm2`; where there are none, one of any kind does.
    pub signatures: Vec<String>,
    /// Names of what hosts and cluster are hardened with.
    pub hardening: Vec<String>,
}

impl Edition {
    /// Whether the edition may hold the component.
    pub fn allows(&self, component: &str) -> bool {
        self.components.as_ref().is_none_or(|allowed| allowed.contains(component))
    }
}

/// What every cluster of one Kubernetes version has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Components and their versions.
    pub components: BTreeMap<String, String>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// What it is.
    pub about: String,
    /// Its versions.
    pub versions: BTreeMap<String, ComponentVersion>,
}

/// A component at one version. The texts in it may hold placeholders; `Catalogue::wanted` fills them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentVersion {
    /// Architectures that it can be had for.
    pub architectures: Vec<Arch>,
    /// Versions of Kubernetes that it works with.
    pub cores: semver::VersionReq,
    /// Names and sources of its artifacts.
    pub artifacts: Vec<(String, Vec<Source>)>,
    /// Names and entries of its layers.
    pub layers: Vec<(String, Vec<LayerEntry>)>,
    /// Its images: full name with tag, roles, content.
    pub images: Vec<(String, Vec<Role>, ImageContent)>,
    /// Its packages: name, roles, content.
    pub packages: Vec<(String, Vec<Role>, PackageContent)>,
}

static FILE: Word = Word {
    children: &[
        child(&ARCHITECTURE, Times::Any),
        child(&ACCELERATOR, Times::Any),
        child(&CHIP, Times::Any),
        child(&EDITION, Times::Any),
        child(&CORE, Times::Any),
        child(&COMPONENT, Times::Any),
    ],
    ..word("", "")
};

static ARCHITECTURE: Word = Word {
    arguments: &[argument("name", Kind::Choice(ARCHITECTURES), "Go's name for it")],
    properties: &[
        required("triplet", Kind::Text, "Debian's name for its library folder"),
        required("library-folder", Kind::Text, "folder under `/usr` that holds the dynamic loader"),
        required("loader", Kind::Text, "file name of the dynamic loader"),
        required("debian", Kind::Text, "Debian suite that has the architecture"),
    ],
    ..word("architecture", "Facts about an architecture.")
};

static ACCELERATOR: Word = Word {
    arguments: &[argument("name", Kind::Label, "its name in site files")],
    properties: &[
        required("about", Kind::Text, "what people call it"),
        required("pci", Kind::Text, "PCI vendor id"),
    ],
    ..word("accelerator", "A vendor of accelerator cards.")
};

static CHIP: Word = Word {
    arguments: &[argument("name", Kind::Label, "its name in site files")],
    properties: &[
        required("about", Kind::Text, "what people call it"),
        required("architecture", Kind::Choice(ARCHITECTURES), "its architecture"),
        required("kernel", Kind::Text, "the oldest kernel that works"),
    ],
    children: &[child(&PAGE_SIZE, Times::Once)],
    ..word("chip", "A processor or a family of them.")
};

static PAGE_SIZE: Word = Word {
    arguments: &[arguments("bytes", Kind::Number(4096, 65536), "a size")],
    ..word("page-size", "Sizes of a memory page with which its kernels are built.")
};

static EDITION: Word = Word {
    arguments: &[argument("name", Kind::Label, "its name in site files")],
    properties: &[required("about", Kind::Text, "what it is for")],
    children: &[
        child(&ALLOWS, Times::AtMostOnce),
        child(&SIGNATURES, Times::AtMostOnce),
        child(&HARDENING, Times::AtMostOnce),
    ],
    ..word("edition", "A policy.")
};

static ALLOWS: Word = Word {
    arguments: &[arguments("component", Kind::Label, "name of a component")],
    default: "any component",
    ..word("components", "The components that it may hold.")
};

static SIGNATURES: Word = Word {
    arguments: &[arguments("kind", Kind::Choice(&["ed25519", "sm2"]), "a kind of signature")],
    default: "any kind",
    ..word("signatures", "Kinds of signature that must all verify.")
};

static HARDENING: Word = Word {
    arguments: &[arguments("name", Kind::Label, "a measure")],
    default: "none",
    ..word("hardening", "What hosts and cluster are hardened with.")
};

static CORE: Word = Word {
    arguments: &[argument("version", Kind::Version, "version of Kubernetes")],
    children: &[child(&CORE_COMPONENT, Times::AtLeastOnce)],
    ..word("core", "What every cluster of one Kubernetes version has.")
};

static CORE_COMPONENT: Word = Word {
    arguments: &[argument("name", Kind::Label, "name of the component")],
    properties: &[required("version", Kind::Text, "its version")],
    ..word("component", "A component of the core.")
};

static COMPONENT: Word = Word {
    arguments: &[argument("name", Kind::Label, "its name in site files")],
    properties: &[required("about", Kind::Text, "what it is")],
    children: &[child(&VERSION, Times::AtLeastOnce)],
    ..word("component", "A component.")
};

static VERSION: Word = Word {
    arguments: &[argument("version", Kind::Text, "the version")],
    properties: &[optional("cores", Kind::Text, "*", "versions of Kubernetes that it works with")],
    children: &[
        child(&ARCHITECTURES_WORD, Times::Once),
        child(&ARTIFACT, Times::Any),
        child(&LAYER, Times::Any),
        child(&IMAGE, Times::Any),
        child(&PACKAGE, Times::Any),
    ],
    ..word("version", "A version of a component.")
};

static ARCHITECTURES_WORD: Word = Word {
    arguments: &[arguments("name", Kind::Choice(ARCHITECTURES), "an architecture")],
    ..word("architectures", "Architectures that it can be had for.")
};

static ARTIFACT: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    children: SOURCE_CHILDREN,
    ..word("artifact", "One file, and its sources in the order in which they are tried.")
};

static LAYER: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    children: LAYER_CHILDREN,
    ..word("layer", "A file system layer.")
};

static IMAGE: Word = Word {
    arguments: &[argument("name", Kind::Text, "its full name with tag")],
    children: IMAGE_CHILDREN,
    ..word("image", "A container image.")
};

static PACKAGE: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    children: PACKAGE_CHILDREN,
    ..word("package", "What is unpacked on hosts.")
};

impl Catalogue {
    /// The catalogue that this qiji was built with.
    pub fn builtin() -> Self {
        let mut catalogue = Self::default();
        let mut stack = vec![&FILES];
        while let Some(folder) = stack.pop() {
            stack.extend(folder.dirs());
            for file in folder.files() {
                let name = file.path().display().to_string();
                let text = file.contents_utf8().unwrap_or_default();
                // A test reads every file and fails on the first fault, so that there is none in a qiji that was released.
                if let Err(faults) = catalogue.add(&name, text) {
                    unreachable!("{}", faults.render(false, 100));
                }
            }
        }
        catalogue
    }

    /// Adds what `text` holds to the catalogue; where a name is known already, that is a fault.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Faults> {
        let text = text.replace("{qiji}", env!("CARGO_PKG_VERSION"));
        let (whole, faults) = typed::read(&text, &FILE);
        let mut reader = Reader { catalogue: self.clone(), faults };
        for entry in whole.children() {
            reader.entry(entry);
        }
        if reader.faults.is_empty() {
            *self = reader.catalogue;
            return Ok(());
        }
        Err(Faults::new(name, &text, reader.faults))
    }

    /// Whether every core has the component, so that a site does not name it.
    pub fn is_base(&self, component: &str) -> bool {
        self.cores.values().any(|core| core.components.contains_key(component))
    }
}

struct Reader {
    catalogue: Catalogue,
    faults: Vec<Fault>,
}

impl Reader {
    fn entry(&mut self, entry: &Entry) {
        let Some(name) = entry.text() else { return };
        let fresh = match entry.word.name {
            "architecture" => self.architecture(entry, name),
            "accelerator" => {
                let value = Accelerator { about: property(entry, "about"), pci: property(entry, "pci") };
                self.catalogue.accelerators.insert(name.value.to_owned(), value).is_none()
            }
            "chip" => self.chip(entry, name),
            "edition" => self.catalogue.editions.insert(name.value.to_owned(), edition(entry)).is_none(),
            "core" => self.core(entry, name),
            _ => self.component(entry, name),
        };
        if !fresh {
            let message = format!("{} `{}` is in the catalogue already", entry.word.name, name.value);
            self.faults.push(Fault::new("duplicate-name", name.span, message, "the second"));
        }
    }

    fn architecture(&mut self, entry: &Entry, name: Spanned<&str>) -> bool {
        let Some(arch) = recipe::architecture(name, &mut self.faults) else { return true };
        let value = Architecture {
            triplet: property(entry, "triplet"),
            library_folder: property(entry, "library-folder"),
            loader: property(entry, "loader"),
            debian: property(entry, "debian"),
        };
        self.catalogue.architectures.insert(arch, value).is_none()
    }

    fn chip(&mut self, entry: &Entry, name: Spanned<&str>) -> bool {
        let Some(typed) = entry.property("architecture") else { return true };
        let Some(arch) = recipe::architecture(typed, &mut self.faults) else { return true };
        let chip = Chip {
            about: property(entry, "about"),
            arch,
            page_sizes: entry.one("page-size").map(|sizes| sizes.numbers().collect()).unwrap_or_default(),
            kernel: property(entry, "kernel"),
        };
        self.catalogue.chips.insert(name.value.to_owned(), chip).is_none()
    }

    fn core(&mut self, entry: &Entry, name: Spanned<&str>) -> bool {
        let Ok(version) = semver::Version::parse(name.value) else {
            let message = format!("`{}` is not a version", name.value);
            let fault = Fault::new("bad-version", name.span, message, "not a version");
            self.faults.push(fault.expected(Kind::Version.describe()));
            return true;
        };
        let components =
            entry.all("component").map(|component| (first(component), property(component, "version")));
        let core = Core { components: components.collect() };
        self.catalogue.cores.insert(version, core).is_none()
    }

    fn component(&mut self, entry: &Entry, name: Spanned<&str>) -> bool {
        let mut versions = BTreeMap::new();
        for version in entry.all("version") {
            let Some(key) = version.text() else { continue };
            if versions.insert(key.value.to_owned(), self.version(version)).is_some() {
                let message = format!("version {} is written twice", key.value);
                self.faults.push(Fault::new("duplicate-name", key.span, message, "the second"));
            }
        }
        let component = Component { about: property(entry, "about"), versions };
        self.catalogue.components.insert(name.value.to_owned(), component).is_none()
    }

    fn version(&mut self, entry: &Entry) -> ComponentVersion {
        let faults = &mut self.faults;
        let architectures = entry.one("architectures").into_iter().flat_map(Entry::texts);
        let architectures = architectures.filter_map(|text| recipe::architecture(text, faults)).collect();
        let cores = entry.property("cores").map_or(Ok(semver::VersionReq::STAR), |text| {
            semver::VersionReq::parse(text.value).map_err(|_| text)
        });
        let cores = cores.unwrap_or_else(|text| {
            let message = format!("`{}` is not a range of versions", text.value);
            faults.push(Fault::new("bad-version", text.span, message, "not such a range"));
            semver::VersionReq::STAR
        });
        ComponentVersion {
            architectures,
            cores,
            artifacts: entry
                .all("artifact")
                .map(|each| (first(each), recipe::sources(each, faults)))
                .collect(),
            layers: entry
                .all("layer")
                .map(|each| (first(each), recipe::layer_entries(each, faults)))
                .collect(),
            images: entry
                .all("image")
                .map(|each| (first(each), recipe::roles(each, faults), recipe::image_content(each, faults)))
                .collect(),
            packages: entry
                .all("package")
                .map(|each| (first(each), recipe::roles(each, faults), recipe::package_content(each, faults)))
                .collect(),
        }
    }
}

fn edition(entry: &Entry) -> Edition {
    let list = |name: &str| {
        entry.one(name).map(|list| list.texts().map(|text| text.value.to_owned()).collect::<Vec<_>>())
    };
    Edition {
        about: property(entry, "about"),
        components: list("components").map(|names| names.into_iter().collect()),
        signatures: list("signatures").unwrap_or_default(),
        hardening: list("hardening").unwrap_or_default(),
    }
}
