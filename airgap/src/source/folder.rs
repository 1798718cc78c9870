//! A file below one of the folders searched ([`Settings::folders`](crate::Settings::folders)), in their order. While fetching, a
//! file with other bytes than the locked ones is passed over, and named if no folder has the right one.

use std::io;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use qiji_blueprint::lock::{self, Pinned};

use super::{Found, Job, Source, Trust};
use crate::error::SourceError;
use crate::store::Store;

/// See the module.
pub(super) struct FolderSource {
    pub(super) path: String,
}

/// What of that relative path there is in the folders, in their order.
pub(super) fn find(
    path: &str,
    folders: &[PathBuf],
    fits: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, SourceError> {
    let inside = |part| matches!(part, Component::Normal(_));
    if path.is_empty() || !Path::new(path).components().all(inside) {
        let reason = "it must be a relative path that stays in its folder";
        return Err(SourceError::Refused { url: path.to_owned(), reason });
    }
    let found: Vec<_> =
        folders.iter().map(|folder| folder.join(path)).filter(|candidate| fits(candidate)).collect();
    if found.is_empty() {
        let searched: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let searched = if searched.is_empty() { "(none)".to_owned() } else { searched.join(", ") };
        return Err(SourceError::NotInFolders { path: path.to_owned(), searched });
    }
    Ok(found)
}

#[async_trait]
impl Source for FolderSource {
    fn label(&self) -> String {
        format!("folder file {}", self.path)
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let path = find(&self.path, &job.context.settings.folders, Path::is_file)?.swap_remove(0);
        let trust = Trust::Transport(format!("as it lies at {}", path.display()));
        let store = job.context.store.clone();
        let pin = crate::blocking(move || copy(&store, &path)).await?;
        Ok(Found { pin, source: lock::Source::Folder { path: self.path.clone() }, trust })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let candidates = find(&self.path, &job.context.settings.folders, Path::is_file)?;
        let (store, pin) = (job.context.store.clone(), *pin);
        crate::blocking(move || take_matching(&store, &candidates, &pin)).await
    }
}

fn take_matching(store: &Store, candidates: &[PathBuf], pin: &Pinned) -> Result<(), SourceError> {
    let mut wrong = None;
    for path in candidates {
        let mut file = open(path)?;
        let found = crate::store::hash(&mut file).map_err(local(path))?;
        if found == *pin && copy(store, path)? == *pin {
            return Ok(());
        }
        let hint = Some("put the file that was locked there, or run `qiji lock` again".to_owned());
        wrong = wrong.or(Some(SourceError::WrongDigest {
            what: path.display().to_string(),
            expected: pin.digest,
            found: found.digest,
            hint,
        }));
    }
    wrong.map_or(Ok(()), Err)
}

fn copy(store: &Store, path: &Path) -> Result<Pinned, SourceError> {
    Ok(store.put_reader(&mut open(path)?)?)
}

fn open(path: &Path) -> Result<fs_err::File, SourceError> {
    fs_err::File::open(path).map_err(local(path))
}

fn local(path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.to_owned();
    move |source| SourceError::Local { path, source }
}
