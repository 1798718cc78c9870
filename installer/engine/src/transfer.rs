//! Bringing blobs to a host: only what is not there, from where an earlier try stopped, each verified by the host before it counts.
//!
//! - One blob of a host at a time, and [`EngineOptions::uploads`](crate::EngineOptions::uploads) blobs over all hosts; a host that is being waited for holds no turn.
//! - A step's time limit bounds how long a transfer may stand still, not how long it may take: that depends on the link.
//! - A transfer whose link broke goes on over the next one. Links that bring nothing new are bounded.
//! - When a run is asked to end, transfers end at once: nothing is lost by it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qiji_events::Progress;
use qiji_plan::{Action, BlobRef};
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::lost_too_often;
use crate::link::{HostLink, LinkError, StepFailure, Values};
use crate::step::{End, Shared, apply};

/// Least time between two progress events of a step.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// A transfer may stand still for at least this long.
const LEAST_STALL: Duration = Duration::from_secs(30);
/// Times that a host may refuse a blob it was sent before the step fails: one rest of an earlier try may have been bad.
const REFUSALS: u32 = 2;

/// Brings the blobs of a step to its host.
pub(crate) async fn receive(shared: &Shared, at: usize) -> End {
    tokio::select! {
        biased;
        () = shared.cancel.soon() => End::Stopped,
        end = receive_all(shared, at) => end,
    }
}

async fn receive_all(shared: &Shared, at: usize) -> End {
    let Action::Receive { blobs } = &shared.step(at).action else {
        return End::Failed(StepFailure::new("the step receives nothing"));
    };
    let meter = Meter::new(shared, at);
    let (mut losses, mut refusals, mut moved) = (0, 0, 0);
    loop {
        let (number, link) = match shared.fleet.link(shared.host(at)).await {
            Ok(numbered) => numbered,
            Err(failure) => return End::HostDown(failure),
        };
        match send_missing(shared, &*link, blobs, &meter).await {
            Ok(()) => break,
            Err(LinkError::Lost { reasons }) => {
                shared.fleet.lost(shared.host(at), number, reasons.clone()).await;
                losses = if meter.moved() > moved { 1 } else { losses + 1 };
                moved = meter.moved();
                if losses >= shared.fleet.loss_limit() {
                    return End::Failed(lost_too_often(losses, reasons));
                }
            }
            Err(LinkError::Failed(failure)) => {
                refusals += 1;
                if refusals >= REFUSALS {
                    return End::Failed(failure);
                }
            }
        }
    }
    match apply(shared, at, &Values::new()).await {
        Ok(_) => End::Done { changed: meter.moved() > 0, value: None, bytes: meter.moved() },
        Err(end) => end,
    }
}

async fn send_missing(
    shared: &Shared,
    link: &dyn HostLink,
    blobs: &[BlobRef],
    meter: &Meter<'_>,
) -> Result<(), LinkError> {
    let status = match timeout(meter.stall, link.blob_status(blobs)).await {
        Ok(status) => status?,
        Err(_) => return Err(meter.stalled()),
    };
    if status.len() != blobs.len() {
        return Err(StepFailure::new("the host did not say how much of each blob is there").into());
    }
    let mut there: u64 = blobs.iter().zip(&status).map(|(blob, there)| (*there).min(blob.size)).sum();
    meter.show(there);
    for (blob, offset) in blobs.iter().zip(status).filter(|(blob, there)| *there < blob.size) {
        send(shared, link, *blob, offset, there, meter).await?;
        there += blob.size - offset;
        meter.show(there);
    }
    Ok(())
}

/// Sends the rest of one blob. `there` counts all bytes of the step that are at the host.
async fn send(
    shared: &Shared,
    link: &dyn HostLink,
    blob: BlobRef,
    offset: u64,
    there: u64,
    meter: &Meter<'_>,
) -> Result<(), LinkError> {
    let _turn = shared.uploads.acquire().await.expect("never closed");
    let mut bytes = shared.blobs.open(&blob.digest, offset).map_err(|fault| {
        let mut failure = StepFailure::of(&fault);
        failure.reasons.insert(0, format!("blob {} cannot be read from the bundle", blob.digest));
        failure
    })?;
    let at_host = AtomicU64::new(offset);
    let progress = |bytes: u64| {
        let before = at_host.fetch_max(bytes, Ordering::Relaxed);
        meter.add(bytes.saturating_sub(before));
        meter.show_now_and_then(there + bytes.saturating_sub(offset));
    };
    let mut sending = link.put_blob(blob, offset, &mut bytes, &progress);
    let mut seen = offset;
    loop {
        tokio::select! {
            sent = &mut sending => {
                sent?;
                break;
            }
            () = sleep(meter.stall) => {
                let now = at_host.load(Ordering::Relaxed);
                if now == seen {
                    return Err(meter.stalled());
                }
                seen = now;
            }
        }
    }
    drop(sending);
    meter.add(blob.size.saturating_sub(at_host.load(Ordering::Relaxed)));
    Ok(())
}

/// Counts what a step moves and shows it, not too often.
struct Meter<'a> {
    shared: &'a Shared,
    step: &'a str,
    total: u64,
    stall: Duration,
    moved: AtomicU64,
    shown: Mutex<Option<Instant>>,
}

impl<'a> Meter<'a> {
    fn new(shared: &'a Shared, at: usize) -> Self {
        let step = shared.step(at);
        let stall = Duration::from_secs(u64::from(step.timeout_s)).max(LEAST_STALL);
        let (moved, shown) = (AtomicU64::new(0), Mutex::new(None));
        Self { shared, step: &step.id.0, total: step.bytes(), stall, moved, shown }
    }

    fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn show(&self, bytes: u64) {
        *self.shown.lock().expect("no holder panics") = Some(Instant::now());
        self.shared.bus.progress(Progress { step: self.step.to_owned(), bytes, total: self.total });
    }

    fn show_now_and_then(&self, bytes: u64) {
        let shown = *self.shown.lock().expect("no holder panics");
        if shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_EVERY) {
            self.show(bytes);
        }
    }

    fn stalled(&self) -> LinkError {
        let failure = StepFailure::new(format!("no byte moved for {} s", self.stall.as_secs()));
        failure
            .hint("check the network and the disk of the host, then run again: what has arrived is kept")
            .into()
    }
}
