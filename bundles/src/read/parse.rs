//! From the members of the tar to [`Contents`]: every JSON document is read once, by digest, and the whole is rendered again and compared.
//!
//! 1. `oci-layout` and `index.json` are read; the latter names root and signature.
//! 2. From the root, every document below it is read, each held to digest, size and limit before it is parsed.
//! 3. The contents found must keep the rules that the writer keeps, and rendered again they must give the same root.
//! 4. `index.json` must be what root, signature and images give, byte for byte.
//! 5. Every blob in the file must belong to something, and everything referred to must be there with its size.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use qiji_blueprint::Digest;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::medium::Medium;
use super::scan::{Extent, Members, read_extent};
use crate::contents::{
    Blob, ChartEntry, Contents, DocumentEntry, ImageEntry, Owner, PackageEntry, SbomEntry, UpstreamEntry,
    is_index,
};
use crate::dsse::Envelope;
use crate::error::Fault;
use crate::hash;
use crate::oci::{
    self, BUNDLE, CHART, DOCUMENT, Descriptor, EDITION, ENVELOPE, FORMAT, FORMAT_VERSION, INDEX, Index,
    LAYOUT, MAX_DOCUMENTS, MAX_JSON, Manifest, NAME, PACKAGE, REF_NAME, ROLES, SPDX, UPSTREAM, VERSION,
};
use crate::render::{self, Rendered};
use crate::sbom::Subject;
use crate::statement::IN_TOTO;

/// Most bytes of documents that are read before they are asked for.
const AHEAD: usize = 16 << 20;

/// Everything that a bundle's documents say.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) contents: Contents,
    pub(crate) root: Descriptor,
    /// The signed statement. Who signed it, if anybody, is not known yet; that it is about this root is.
    pub(crate) envelope: Envelope,
    /// The statement's channel.
    pub(crate) channel: String,
    /// What each blob belongs to; the first, where it belongs to several.
    pub(crate) owners: BTreeMap<Digest, Owner>,
}

/// Reads and checks all documents.
pub(crate) fn parse(medium: &dyn Medium, members: &Members) -> Result<Parsed, Fault> {
    let reader = Reader { medium, members, ahead: RefCell::default(), spent: Cell::new(0) };
    if read_extent(medium, members.layout).map_err(Fault::Read)? != LAYOUT {
        return Err(Fault::document(&"member oci-layout", "its content is damaged"));
    }
    let index_bytes = read_extent(medium, members.index).map_err(Fault::Read)?;
    let index: Index = parse_json(&"index.json", &index_bytes)?;
    let root = reader.root(&index)?;
    let contents = reader.contents(&root)?;
    let rendered = render::render(&contents);
    if rendered.root != root {
        return Err(Fault::document(&Owner::Root, "it is not in canonical form"));
    }
    let signature = index.manifests.get(1).filter(|entry| entry.artifact_type.as_deref() == Some(ENVELOPE));
    let unnamed = || Fault::document(&"index.json", "it names no statement, signed or not, about the root");
    let signature = reader.signature(&root, signature.ok_or_else(unnamed)?)?;
    if render::index_json(&root, &signature.descriptor, &rendered.images) != index_bytes {
        return Err(Fault::document(&"index.json", "it does not list root, signature and images as it must"));
    }
    let channel = rendered.about(&contents).check(&signature.envelope.payload()?)?;
    let owners = reader.close(&contents, &rendered, &signature)?;
    Ok(Parsed { contents, root, envelope: signature.envelope, channel, owners })
}

/// The signature with all that belongs to it.
struct Signature {
    descriptor: Descriptor,
    envelope: Envelope,
    blob: Descriptor,
}

struct Reader<'a> {
    medium: &'a dyn Medium,
    members: &'a Members,
    /// Documents that were read before they were asked for, so that a level of them is read front to back. Not checked yet.
    ahead: RefCell<BTreeMap<Digest, Vec<u8>>>,
    /// Bytes of all documents that were asked for.
    spent: Cell<u64>,
}

impl Reader<'_> {
    /// The root's descriptor, exactly as `index.json` has it.
    fn root(&self, index: &Index) -> Result<Descriptor, Fault> {
        let fault = |reason: &str| Fault::document(&"index.json", reason);
        let root = index.manifests.first().ok_or_else(|| fault("it lists nothing"))?;
        let mut expected = Descriptor::new(INDEX, root.digest, root.size);
        expected.artifact_type = Some(BUNDLE.to_owned());
        if *root != expected {
            return Err(fault("its first entry is not the root of a bundle"));
        }
        if self.members.blobs.get(&root.digest).is_none_or(|extent| extent.size != root.size) {
            return Err(fault("it names a root that is not in the file"));
        }
        Ok(expected)
    }

    fn contents(&self, root: &Descriptor) -> Result<Contents, Fault> {
        let index: Index = self.json(root, &Owner::Root)?;
        let fault = |reason: String| Fault::document(&Owner::Root, reason);
        let required = |key: &str| oci::annotation(&index.annotations, key).map(str::to_owned).map_err(fault);
        let format = required(FORMAT)?;
        if format != FORMAT_VERSION {
            return Err(Fault::OtherFormat(format.escape_debug().to_string()));
        }
        let edition = index.annotations.contains_key(EDITION).then(|| required(EDITION)).transpose()?;
        let mut contents = Contents {
            name: required(NAME)?,
            version: required(VERSION)?,
            edition: edition.unwrap_or_default(),
            images: Vec::new(),
            packages: Vec::new(),
            charts: Vec::new(),
            documents: Vec::new(),
            sboms: Vec::new(),
            upstreams: Vec::new(),
        };
        self.read_ahead(&index.manifests)?;
        self.read_ahead(&self.below(&index.manifests))?;
        for descriptor in &index.manifests {
            match descriptor.artifact_type.as_deref() {
                None => self.images(descriptor, &mut contents.images)?,
                Some(PACKAGE) => contents.packages.push(self.package(descriptor)?),
                Some(CHART) => contents.charts.push(self.chart(descriptor)?),
                Some(DOCUMENT) => contents.documents.push(self.document(descriptor)?),
                Some(SPDX) => contents.sboms.push(self.sbom(descriptor)?),
                Some(UPSTREAM) => contents.upstreams.push(self.upstream(descriptor)?),
                Some(other) => return Err(fault(format!("`{other}` is not a known type of artifact"))),
            }
        }
        match contents.faults().as_slice() {
            [] => Ok(contents),
            faults => Err(fault(faults.join("; "))),
        }
    }

    /// Reads documents in the order in which they lie, as far as there is room. What is wrong with them is found when they are asked for.
    fn read_ahead(&self, documents: &[Descriptor]) -> Result<(), Fault> {
        let mut ahead = self.ahead.borrow_mut();
        let mut room = AHEAD.saturating_sub(ahead.values().map(Vec::len).sum());
        let extents = documents.iter().filter_map(|document| {
            let extent = self.members.blobs.get(&document.digest).copied()?;
            (extent.size == document.size && extent.size <= MAX_JSON).then_some((extent, document.digest))
        });
        let mut extents: Vec<(Extent, Digest)> = extents.collect();
        extents.sort_unstable_by_key(|(extent, _)| extent.start);
        extents.dedup();
        for (extent, digest) in extents {
            let size = usize::try_from(extent.size).unwrap_or(usize::MAX);
            if size <= room && !ahead.contains_key(&digest) {
                ahead.insert(digest, read_extent(self.medium, extent).map_err(Fault::Read)?);
                room -= size;
            }
        }
        Ok(())
    }

    /// What the indexes among `documents` list, where they were read ahead and can be read at all.
    fn below(&self, documents: &[Descriptor]) -> Vec<Descriptor> {
        let ahead = self.ahead.borrow();
        let indexes = documents.iter().filter(|document| document.media_type == INDEX);
        let indexes: BTreeSet<Digest> = indexes.map(|document| document.digest).collect();
        let bytes = indexes.iter().filter_map(|digest| ahead.get(digest));
        let parsed = bytes.filter_map(|bytes| serde_json::from_slice::<Index>(bytes).ok());
        parsed.flat_map(|index| index.manifests).collect()
    }

    fn images(&self, descriptor: &Descriptor, images: &mut Vec<ImageEntry>) -> Result<(), Fault> {
        let name = descriptor.annotation(REF_NAME).map_err(|reason| Fault::document(&Owner::Root, reason))?;
        if descriptor.media_type != INDEX {
            images.push(self.image(name, descriptor)?);
            return Ok(());
        }
        let index: Index = self.json(descriptor, &Owner::ImageIndex { name: name.to_owned() })?;
        for manifest in &index.manifests {
            images.push(self.image(name, manifest)?);
        }
        Ok(())
    }

    fn image(&self, name: &str, descriptor: &Descriptor) -> Result<ImageEntry, Fault> {
        let fault = |reason: String| Fault::document(&format!("image {name}"), reason);
        let arch = render::arch(descriptor).map_err(fault)?;
        let roles = descriptor.annotation(ROLES).and_then(render::roles).map_err(fault)?;
        let owner = Owner::Image { name: name.to_owned(), arch };
        let manifest: Manifest = self.json(descriptor, &owner)?;
        if manifest.media_type.as_ref().is_some_and(|found| *found != descriptor.media_type) {
            return Err(fault("its manifest has another media type than the root says".to_owned()));
        }
        Ok(ImageEntry {
            name: name.to_owned(),
            arch,
            roles,
            manifest: descriptor.into(),
            config: (&manifest.config).into(),
            layers: manifest.layers.iter().map(Blob::from).collect(),
        })
    }

    fn package(&self, descriptor: &Descriptor) -> Result<PackageEntry, Fault> {
        let fault = |reason: String| Fault::document(&"a package", reason);
        let name = descriptor.annotation(NAME).map_err(fault)?.to_owned();
        let version = descriptor.annotation(VERSION).map_err(fault)?.to_owned();
        let arch = render::arch(descriptor).map_err(fault)?;
        let roles = descriptor.annotation(ROLES).and_then(render::roles).map_err(fault)?;
        let owner = Owner::Package { name: name.clone(), version: version.clone(), arch };
        let manifest: Manifest = self.json(descriptor, &owner)?;
        let blobs = manifest.layers.iter().map(Blob::from).collect();
        Ok(PackageEntry { name, arch, version, roles, blobs })
    }

    fn chart(&self, descriptor: &Descriptor) -> Result<ChartEntry, Fault> {
        let fault = |reason: String| Fault::document(&"a chart", reason);
        let name = descriptor.annotation(NAME).map_err(fault)?.to_owned();
        let version = descriptor.annotation(VERSION).map_err(fault)?.to_owned();
        let manifest: Manifest = self.json(descriptor, &Owner::Chart { name: name.clone() })?;
        let blobs = manifest.layers.iter().map(Blob::from).collect();
        Ok(ChartEntry { name, version, blobs })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<DocumentEntry, Fault> {
        let name = descriptor.annotation(NAME).map_err(|reason| Fault::document(&"a document", reason))?;
        let owner = Owner::Document { name: name.to_owned() };
        let manifest: Manifest = self.json(descriptor, &owner)?;
        let [content] = manifest.layers.as_slice() else {
            return Err(Fault::document(&owner, "it does not have exactly one layer"));
        };
        Ok(DocumentEntry { name: name.to_owned(), blob: content.into() })
    }

    fn sbom(&self, descriptor: &Descriptor) -> Result<SbomEntry, Fault> {
        let fault = |reason: String| Fault::document(&"a bill of materials", reason);
        let name = descriptor.annotation(NAME).map_err(fault)?.to_owned();
        let arch =
            descriptor.platform.is_some().then(|| render::arch(descriptor)).transpose().map_err(fault)?;
        // Charts have no architecture; names of images always have a `/`, those of packages never.
        let subject = match arch {
            None => Subject::Chart { name },
            Some(arch) if name.contains('/') => Subject::Image { name, arch },
            Some(arch) => Subject::Package { name, arch },
        };
        let owner = Owner::Sbom { subject: subject.clone() };
        let manifest: Manifest = self.json(descriptor, &owner)?;
        let [content] = manifest.layers.as_slice() else {
            return Err(Fault::document(&owner, "it does not have exactly one layer"));
        };
        Ok(SbomEntry { subject, blob: content.into() })
    }

    fn upstream(&self, descriptor: &Descriptor) -> Result<UpstreamEntry, Fault> {
        let fault = |reason: String| Fault::document(&"an upstream", reason);
        let name = descriptor.annotation(NAME).map_err(fault)?.to_owned();
        let owner = Owner::Upstream { name: name.clone() };
        let bytes = self.fetch(descriptor, &owner)?;
        let mut blobs = Vec::new();
        if is_index(&descriptor.media_type) {
            let IgnoredAny = parse_json(&owner, &bytes)?;
        } else {
            let manifest: Manifest = parse_json(&owner, &bytes)?;
            blobs.extend(std::iter::once(&manifest.config).chain(&manifest.layers).map(Blob::from));
        }
        Ok(UpstreamEntry { name, manifest: descriptor.into(), blobs })
    }

    fn signature(&self, root: &Descriptor, descriptor: &Descriptor) -> Result<Signature, Fault> {
        let manifest_bytes = self.fetch(descriptor, &Owner::Signature)?;
        let manifest: Manifest = parse_json(&Owner::Signature, &manifest_bytes)?;
        let blob =
            manifest.layers.first().ok_or_else(|| Fault::document(&Owner::Signature, "it is empty"))?;
        let envelope_bytes = self.fetch(blob, &Owner::Signature)?;
        let (descriptor, bytes) = render::signature(root, &envelope_bytes);
        if bytes != manifest_bytes {
            return Err(Fault::OtherSubject {
                reason: "its manifest is not the one for this root".to_owned(),
            });
        }
        let envelope = Envelope::parse(&envelope_bytes)?;
        if envelope.payload_type() != IN_TOTO {
            let reason = format!("its type is `{}`", envelope.payload_type().escape_debug());
            return Err(Fault::OtherSubject { reason });
        }
        Ok(Signature { descriptor, envelope, blob: blob.clone() })
    }

    fn json<T: DeserializeOwned>(&self, descriptor: &Descriptor, owner: &Owner) -> Result<T, Fault> {
        parse_json(owner, &self.fetch(descriptor, owner)?)
    }

    /// The bytes of a document, held to digest, size and limit.
    fn fetch(&self, descriptor: &Descriptor, owner: &Owner) -> Result<Vec<u8>, Fault> {
        let Descriptor { digest, size, .. } = *descriptor;
        self.require(digest, size, owner)?;
        if size > MAX_JSON {
            return Err(Fault::document(owner, format!("{digest} is larger than 4 MiB")));
        }
        self.spent.set(self.spent.get() + size);
        if self.spent.get() > MAX_DOCUMENTS {
            return Err(Fault::document(owner, "all documents up to this one have more than 64 MiB"));
        }
        let extent = self.members.blobs[&digest];
        let ahead = self.ahead.borrow().get(&digest).cloned();
        let bytes = ahead.map_or_else(|| read_extent(self.medium, extent), Ok).map_err(Fault::Read)?;
        if hash::digest(&bytes) != digest {
            let owner = owner.clone();
            return Err(Fault::Blob { digest, owner, start: extent.start, end: extent.end() });
        }
        Ok(bytes)
    }

    fn require(&self, digest: Digest, expected: u64, owner: &Owner) -> Result<(), Fault> {
        match self.members.blobs.get(&digest) {
            None => Err(Fault::Missing { digest, owner: owner.clone() }),
            Some(extent) if extent.size != expected => {
                Err(Fault::Size { digest, owner: owner.clone(), expected, found: extent.size })
            }
            Some(_) => Ok(()),
        }
    }

    /// Requires that the blobs in the file are exactly those referred to, and gives their owners.
    fn close(
        &self,
        contents: &Contents,
        rendered: &Rendered,
        signature: &Signature,
    ) -> Result<BTreeMap<Digest, Owner>, Fault> {
        let mut owners = BTreeMap::new();
        let mut add = |digest: Digest, size: u64, owner: Owner| {
            self.require(digest, size, &owner)?;
            owners.entry(digest).or_insert(owner);
            Ok(())
        };
        for (owner, blob) in contents.blobs() {
            add(blob.digest, blob.size, owner)?;
        }
        for (digest, (owner, bytes)) in &rendered.documents {
            add(*digest, bytes.len() as u64, owner.clone())?;
        }
        for descriptor in [&signature.descriptor, &signature.blob] {
            add(descriptor.digest, descriptor.size, Owner::Signature)?;
        }
        let empty = oci::EMPTY_CONFIG;
        add(hash::digest(empty), empty.len() as u64, Owner::Empty)?;
        match self.members.blobs.iter().find(|(digest, _)| !owners.contains_key(digest)) {
            Some((&digest, extent)) => Err(Fault::Extra { digest, offset: extent.start }),
            None => Ok(owners),
        }
    }
}

fn parse_json<T: DeserializeOwned>(what: &dyn Display, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::document(what, format!("it is unreadable: {error}")))
}
