//! Asking a run to end early: once, running steps are finished and no other begins; twice, running steps are broken off.

use tokio_util::sync::CancellationToken;

/// A request to end early, shared by all who may make it.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    soon: CancellationToken,
    now: CancellationToken,
}

impl Cancel {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks; a second time asks for it at once.
    pub fn request(&self) {
        if self.soon.is_cancelled() {
            self.now.cancel();
        }
        self.soon.cancel();
    }

    /// Whether it was asked at all.
    pub fn is_requested(&self) -> bool {
        self.soon.is_cancelled()
    }

    pub(crate) async fn soon(&self) {
        self.soon.cancelled().await;
    }

    pub(crate) async fn now(&self) {
        self.now.cancelled().await;
    }
}
