//! What goes on now, worked out from the stream of events alone: for each host and for the whole run the steps that run, what is done and left,
//! bytes, rate and time left. Pure: the caller says what time it is.
//!
//! How long it will last is the longest chain through the steps that are left. A step that moves bytes counts what is left of them over the host's rate; any
//! other counts what it took in an earlier run ([`Typical`]). Where neither is known the answer says so ([`TimeLeft`]) and is never made up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{Event, Lifecycle, Progress, Stamped, StepInfo};

/// Milliseconds over which a rate is measured.
const RATE_WINDOW_MS: u64 = 5_000;
/// A rate over less than this says nothing.
const RATE_LEAST_MS: u64 = 500;

/// What steps took in an earlier run.
#[derive(Debug, Clone, Default)]
pub struct Typical {
    by_step: HashMap<String, u64>,
    by_title: HashMap<String, u64>,
}

impl Typical {
    /// Takes the durations of the steps that an earlier run did. A step is known by its id or else by its title (the median over hosts).
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Self {
        let mut titles: HashMap<&str, &str> = HashMap::new();
        let mut by_step = HashMap::new();
        let mut took_by_title: HashMap<String, Vec<u64>> = HashMap::new();
        for stamped in events {
            match &stamped.event {
                Event::Lifecycle(Lifecycle::RunStarted { steps, .. }) => {
                    titles.extend(steps.iter().map(|info| (info.id.as_str(), info.title.as_str())));
                }
                Event::Lifecycle(Lifecycle::StepDone { step, took_ms, .. }) => {
                    by_step.insert(step.clone(), *took_ms);
                    if let Some(&title) = titles.get(step.as_str()) {
                        took_by_title.entry(title.to_owned()).or_default().push(*took_ms);
                    }
                }
                _ => {}
            }
        }
        let by_title = took_by_title.into_iter().map(|(title, took)| (title, median(took))).collect();
        Self { by_step, by_title }
    }

    /// Milliseconds that a step is likely to take.
    pub fn of(&self, id: &str, title: &str) -> Option<u64> {
        self.by_step.get(id).or_else(|| self.by_title.get(title)).copied()
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Time left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLeft {
    /// About so many milliseconds.
    About(u64),
    /// At least so many milliseconds; some steps that are left have an unknown duration.
    AtLeast(u64),
    /// Nothing is known.
    Unknown,
}

/// Where a host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Not connected yet.
    Connecting,
    /// Connected; its steps are being looked at, or it waits for other hosts.
    Checking,
    /// In the middle of it.
    Working,
    /// Connection broke and is being made again.
    Reconnecting,
    /// Nothing is left to do and nothing failed.
    Finished,
    /// Something failed; for a host that is given up the chain of causes, else empty.
    Failed(Vec<String>),
}

/// A step that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Id.
    pub step: String,
    /// Title for people.
    pub title: String,
    /// Milliseconds it has run.
    pub for_ms: u64,
}

/// One host, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Host.
    pub host: String,
    /// Where it stands.
    pub stage: Stage,
    /// Steps that run.
    pub current: Vec<Current>,
    /// Numbers and time.
    pub whole: WholeView,
}

/// Numbers of a host or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeView {
    /// Steps done in this run.
    pub done: u64,
    /// Steps found done before.
    pub unchanged: u64,
    /// Steps failed or broken off.
    pub failed: u64,
    /// Steps left out.
    pub skipped: u64,
    /// Steps still to come or running.
    pub left: u64,
    /// Bytes at the hosts, of those that this run is to bring.
    pub bytes: u64,
    /// Bytes that this run is to bring.
    pub bytes_total: u64,
    /// Bytes a second over the last seconds; nothing when nothing moves.
    pub rate: Option<u64>,
    /// Time left.
    pub time_left: TimeLeft,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Left,
    Running { since_ms: u64 },
    Done,
    Unchanged,
    Failed,
    Skipped,
}

#[derive(Debug)]
struct StepState {
    id: String,
    title: String,
    host: usize,
    needs: Vec<usize>,
    bytes_total: u64,
    /// Bytes there; nothing before the first progress.
    bytes: Option<u64>,
    state: State,
}

#[derive(Debug, Default)]
struct HostState {
    name: String,
    connected: bool,
    resolved: bool,
    lost: bool,
    failed: Option<Vec<String>>,
    steps: Vec<usize>,
    /// (moment, bytes moved in this run by then).
    moved: VecDeque<(u64, u64)>,
    moved_total: u64,
}

/// The state of a run after some of its events.
#[derive(Debug, Default)]
pub struct Summary {
    steps: Vec<StepState>,
    hosts: Vec<HostState>,
    index: HashMap<String, usize>,
    host_index: BTreeMap<String, usize>,
    typical: Typical,
    ended: Option<bool>,
}

impl Summary {
    /// Before the first event. `typical` may be empty.
    pub fn new(typical: Typical) -> Self {
        Self { typical, ..Self::default() }
    }

    /// Takes the next event.
    pub fn apply(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::Lifecycle(event) => self.lifecycle(event, stamped.at_ms),
            Event::Progress(progress) => self.progress(progress, stamped.at_ms),
            Event::Log(_) => {}
        }
    }

    /// Whether the run ended, and well.
    pub fn ended(&self) -> Option<bool> {
        self.ended
    }

    fn lifecycle(&mut self, event: &Lifecycle, at_ms: u64) {
        match event {
            Lifecycle::RunStarted { steps, .. } => self.begin(steps),
            Lifecycle::HostConnected { host } => self.with_host(host, |host| {
                host.connected = true;
                host.lost = false;
            }),
            Lifecycle::HostLost { host, .. } => self.with_host(host, |host| host.lost = true),
            Lifecycle::HostFailed { host, reasons, .. } => {
                self.with_host(host, |host| host.failed = Some(reasons.clone()));
            }
            Lifecycle::Resolved { .. } => self.hosts.iter_mut().for_each(|host| host.resolved = true),
            Lifecycle::StepUnchanged { step } => self.set(step, State::Unchanged),
            Lifecycle::StepStarted { step } => self.set(step, State::Running { since_ms: at_ms }),
            Lifecycle::StepDone { step, .. } => self.step_done(step, at_ms),
            Lifecycle::StepFailed { step, .. } | Lifecycle::StepStopped { step } => {
                self.set(step, State::Failed);
            }
            Lifecycle::StepSkipped { step, .. } => self.set(step, State::Skipped),
            Lifecycle::RunEnded { ok, .. } => self.ended = Some(*ok),
            Lifecycle::HostChecked { .. } | Lifecycle::StopRequested { .. } => {}
        }
    }

    fn begin(&mut self, infos: &[StepInfo]) {
        for info in infos {
            let next = self.hosts.len();
            let host = *self.host_index.entry(info.host.clone()).or_insert(next);
            if host == next {
                self.hosts.push(HostState { name: info.host.clone(), ..HostState::default() });
            }
            let needs = info.needs.iter().filter_map(|need| self.index.get(need).copied()).collect();
            self.hosts[host].steps.push(self.steps.len());
            self.index.insert(info.id.clone(), self.steps.len());
            self.steps.push(StepState {
                id: info.id.clone(),
                title: info.title.clone(),
                host,
                needs,
                bytes_total: info.bytes,
                bytes: None,
                state: State::Left,
            });
        }
    }

    fn with_host(&mut self, host: &str, change: impl FnOnce(&mut HostState)) {
        if let Some(&at) = self.host_index.get(host) {
            change(&mut self.hosts[at]);
        }
    }

    fn set(&mut self, step: &str, state: State) {
        if let Some(&at) = self.index.get(step) {
            self.steps[at].state = state;
        }
    }

    fn step_done(&mut self, step: &str, at_ms: u64) {
        let Some(&at) = self.index.get(step) else { return };
        let total = self.steps[at].bytes_total;
        if self.steps[at].bytes.is_some() {
            self.progress(&Progress { step: step.to_owned(), bytes: total, total }, at_ms);
        }
        self.steps[at].bytes = Some(total);
        self.steps[at].state = State::Done;
    }

    /// The first progress of a step says what was there already: that was not moved now.
    fn progress(&mut self, progress: &Progress, at_ms: u64) {
        let Some(&at) = self.index.get(&progress.step) else { return };
        let step = &mut self.steps[at];
        let moved = step.bytes.map_or(0, |before| progress.bytes.saturating_sub(before));
        step.bytes = Some(progress.bytes);
        step.bytes_total = progress.total;
        let host = &mut self.hosts[step.host];
        host.moved_total += moved;
        host.moved.push_back((at_ms, host.moved_total));
        let oldest = at_ms.saturating_sub(RATE_WINDOW_MS);
        while host.moved.len() > 2 && host.moved[1].0 <= oldest {
            host.moved.pop_front();
        }
    }

    /// All hosts at a moment, by name.
    pub fn hosts(&self, now_ms: u64) -> Vec<HostView> {
        let chains = self.chains(now_ms);
        self.host_index.values().map(|&at| self.host(&self.hosts[at], now_ms, &chains)).collect()
    }

    /// The whole run at a moment.
    pub fn whole(&self, now_ms: u64) -> WholeView {
        let chains = self.chains(now_ms);
        let rates: Vec<u64> = self.hosts.iter().filter_map(|host| host.rate(now_ms)).collect();
        let rate = (!rates.is_empty()).then(|| rates.iter().sum());
        self.view(0..self.steps.len(), rate, &chains)
    }

    fn host(&self, host: &HostState, now_ms: u64, chains: &[Chain]) -> HostView {
        let whole = self.view(host.steps.iter().copied(), host.rate(now_ms), chains);
        let current = host.steps.iter().filter_map(|&at| self.current(at, now_ms)).collect();
        HostView { host: host.name.clone(), stage: host.stage(&whole), current, whole }
    }

    fn current(&self, at: usize, now_ms: u64) -> Option<Current> {
        let step = &self.steps[at];
        let State::Running { since_ms } = step.state else { return None };
        let for_ms = now_ms.saturating_sub(since_ms);
        Some(Current { step: step.id.clone(), title: step.title.clone(), for_ms })
    }

    fn view(&self, steps: impl Iterator<Item = usize>, rate: Option<u64>, chains: &[Chain]) -> WholeView {
        let mut view = WholeView {
            done: 0,
            unchanged: 0,
            failed: 0,
            skipped: 0,
            left: 0,
            bytes: 0,
            bytes_total: 0,
            rate,
            time_left: TimeLeft::About(0),
        };
        let mut longest = Chain::default();
        for at in steps {
            let step = &self.steps[at];
            match step.state {
                State::Left | State::Running { .. } => {
                    view.left += 1;
                    longest = longest.or(chains[at]);
                }
                State::Done => view.done += 1,
                State::Unchanged => view.unchanged += 1,
                State::Failed => view.failed += 1,
                State::Skipped => view.skipped += 1,
            }
            if !matches!(step.state, State::Unchanged | State::Skipped) {
                view.bytes += step.bytes.unwrap_or(0);
                view.bytes_total += step.bytes_total;
            }
        }
        view.time_left = longest.time_left();
        view
    }

    /// For each step the longest chain of work that is left up to its end. Steps stand after their needs, so one pass does.
    fn chains(&self, now_ms: u64) -> Vec<Chain> {
        let rates: Vec<Option<u64>> = self.hosts.iter().map(|host| host.rate(now_ms)).collect();
        let mut chains: Vec<Chain> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let before = step.needs.iter().fold(Chain::default(), |longest, &need| longest.or(chains[need]));
            chains.push(before.then(self.step_left(step, rates[step.host], now_ms)));
        }
        chains
    }

    /// Milliseconds left of one step, where known.
    fn step_left(&self, step: &StepState, rate: Option<u64>, now_ms: u64) -> Option<u64> {
        let ran_ms = match step.state {
            State::Left => 0,
            State::Running { since_ms } => now_ms.saturating_sub(since_ms),
            _ => return Some(0),
        };
        let bytes_left = step.bytes_total.saturating_sub(step.bytes.unwrap_or(0));
        match rate {
            Some(rate) if bytes_left > 0 => Some(bytes_left.saturating_mul(1000) / rate.max(1)),
            _ => self.typical.of(&step.id, &step.title).map(|took| took.saturating_sub(ran_ms)),
        }
    }
}

impl HostState {
    fn rate(&self, now_ms: u64) -> Option<u64> {
        let (&(first_ms, first), &(last_ms, last)) = (self.moved.front()?, self.moved.back()?);
        let span = now_ms.max(last_ms).saturating_sub(first_ms);
        let stale = now_ms.saturating_sub(last_ms) > RATE_WINDOW_MS;
        if stale || span < RATE_LEAST_MS || last == first {
            return None;
        }
        Some((last - first).saturating_mul(1000) / span)
    }

    fn stage(&self, whole: &WholeView) -> Stage {
        if let Some(reasons) = &self.failed {
            return Stage::Failed(reasons.clone());
        }
        match (self.lost, self.connected, self.resolved, whole.left) {
            (true, ..) => Stage::Reconnecting,
            (_, false, ..) => Stage::Connecting,
            (_, _, false, _) => Stage::Checking,
            (_, _, true, 0) if whole.failed + whole.skipped > 0 => Stage::Failed(Vec::new()),
            (_, _, true, 0) => Stage::Finished,
            _ => Stage::Working,
        }
    }
}

/// Milliseconds of a chain of steps, and whether some of them are unknown.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    ms: u64,
    unknown: bool,
}

impl Chain {
    fn or(self, other: Self) -> Self {
        Self { ms: self.ms.max(other.ms), unknown: self.unknown || other.unknown }
    }

    fn then(self, step: Option<u64>) -> Self {
        Self { ms: self.ms + step.unwrap_or(0), unknown: self.unknown || step.is_none() }
    }

    fn time_left(self) -> TimeLeft {
        match (self.unknown, self.ms) {
            (false, ms) => TimeLeft::About(ms),
            (true, 0) => TimeLeft::Unknown,
            (true, ms) => TimeLeft::AtLeast(ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, done, info, moved, run, started};

    fn two_hosts() -> Vec<StepInfo> {
        vec![
            info("a/receive", &[], 10_000_000),
            info("a/start", &["a/receive"], 0),
            info("b/receive", &[], 10_000_000),
            info("b/join", &["b/receive", "a/start"], 0),
        ]
    }

    fn connected(host: &str) -> Lifecycle {
        Lifecycle::HostConnected { host: host.into() }
    }

    fn begun(typical: Typical) -> Summary {
        let mut summary = Summary::new(typical);
        for event in [
            at(0, run(two_hosts())),
            at(10, connected("a")),
            at(20, connected("b")),
            at(90, Lifecycle::Resolved { pending: 4, unchanged: 0 }),
            at(100, started("a/receive")),
            at(100, started("b/receive")),
        ] {
            summary.apply(&event);
        }
        summary
    }

    #[test]
    fn rate_counts_what_moved_now_and_not_what_was_there() {
        let mut summary = begun(Typical::default());
        summary.apply(&moved(1_000, "a/receive", 6_000_000, 10_000_000));
        summary.apply(&moved(2_000, "a/receive", 7_000_000, 10_000_000));
        let hosts = summary.hosts(2_000);
        assert_eq!(hosts[0].whole.rate, Some(1_000_000));
        assert_eq!((hosts[0].whole.bytes, hosts[0].whole.bytes_total), (7_000_000, 10_000_000));
        assert_eq!(hosts[0].current[0].title, "do receive");
        assert_eq!(hosts[0].current[0].for_ms, 1_900);
        assert_eq!(hosts[1].whole.rate, None);
        assert_eq!(summary.hosts(8_000)[0].whole.rate, None, "a transfer that stands still has no rate");
    }

    #[test]
    fn the_rate_follows_the_last_seconds() {
        let mut summary = begun(Typical::default());
        for second in 0..=20_u64 {
            let bytes = second * 100_000 + second.saturating_sub(10) * 100_000;
            summary.apply(&moved(second * 1_000, "a/receive", bytes, 10_000_000));
        }
        assert_eq!(summary.hosts(20_000)[0].whole.rate, Some(200_000));
    }

    #[test]
    fn time_left_is_unknown_without_an_earlier_run() {
        let mut summary = begun(Typical::default());
        assert_eq!(summary.whole(200).time_left, TimeLeft::Unknown);
        summary.apply(&moved(1_000, "a/receive", 0, 10_000_000));
        summary.apply(&moved(2_000, "a/receive", 1_000_000, 10_000_000));
        assert_eq!(summary.hosts(2_000)[0].whole.time_left, TimeLeft::AtLeast(9_000));
    }

    #[test]
    fn time_left_is_the_longest_chain_across_hosts() {
        let earlier = [
            at(0, run(two_hosts())),
            at(1, Lifecycle::StepDone { step: "a/start".into(), took_ms: 4_000, changed: true, bytes: 0 }),
            at(2, Lifecycle::StepDone { step: "b/join".into(), took_ms: 2_000, changed: true, bytes: 0 }),
        ];
        let mut summary = begun(Typical::from_events(&earlier));
        for host in ["a", "b"] {
            summary.apply(&moved(1_000, &format!("{host}/receive"), 0, 10_000_000));
            summary.apply(&moved(2_000, &format!("{host}/receive"), 5_000_000, 10_000_000));
        }
        let hosts = summary.hosts(2_000);
        assert_eq!(hosts[0].whole.time_left, TimeLeft::About(1_000 + 4_000));
        assert_eq!(hosts[1].whole.time_left, TimeLeft::About(1_000 + 4_000 + 2_000));
        assert_eq!(summary.whole(2_000).time_left, TimeLeft::About(7_000));
        assert_eq!(summary.whole(2_000).rate, Some(10_000_000));
    }

    #[test]
    fn hosts_pass_through_their_stages() {
        let mut summary = begun(Typical::default());
        assert_eq!(summary.hosts(100)[0].stage, Stage::Working);
        summary.apply(&at(200, Lifecycle::HostLost { host: "a".into(), reasons: vec!["reset".into()] }));
        assert_eq!(summary.hosts(200)[0].stage, Stage::Reconnecting);
        summary.apply(&at(300, connected("a")));
        summary.apply(&at(400, done("a/receive", 10_000_000)));
        summary.apply(&at(400, started("a/start")));
        summary.apply(&at(500, done("a/start", 0)));
        assert_eq!(summary.hosts(500)[0].stage, Stage::Finished);
        summary.apply(&at(
            600,
            Lifecycle::HostFailed { host: "b".into(), reasons: vec!["down".into()], hint: None },
        ));
        assert_eq!(summary.hosts(600)[1].stage, Stage::Failed(vec!["down".into()]));
    }

    #[test]
    fn events_survive_being_written_down() {
        let all = [at(3, run(two_hosts())), moved(4, "a/receive", 1, 2), at(5, done("a/start", 7))];
        for event in all {
            let line = serde_json::to_string(&event).expect("an event is plain data");
            assert_eq!(serde_json::from_str::<Stamped>(&line).expect("and can be read back"), event);
        }
    }
}
