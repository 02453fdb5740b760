//! One pulse per connection: where it is in its exchange, and since when.
//!
//! A timer per request would cost more than the request's routing. Instead every connection notes its phase in
//! a few atomics, and one sweep over all of them, [`SWEEP`] apart, finds those that have overstayed, pokes
//! them, and leaves the ruling to the connection's own task.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::model::ProxySettings;

/// Time between two sweeps: the precision of every timeout.
pub(super) const SWEEP: Duration = Duration::from_millis(100);

/// How long an endless stream may take to end in form before it is broken off, in milliseconds.
const PARTING: u64 = 1_500;

/// How long a client may be left alone while it is being answered, in milliseconds. Longer than answers take under load:
/// a sweep that pokes half of the connections makes all of them wait.
const BRIEF: u64 = 1_000;

/// Milliseconds since the proxy's start, as of the last sweep: read for nothing, where `Instant::now` is a call.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    now: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            now: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    pub(super) fn tick(&self) {
        self.now.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }
}

/// How long each phase may take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) header: u64,
    pub(super) idle: u64,
    pub(super) body: u64,
    pub(super) response: u64,
}

/// What an app has instead of the proxy's limits, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OwnLimits {
    pub(super) body: Option<u64>,
    pub(super) response: Option<u64>,
}

impl From<&ProxySettings> for Limits {
    fn from(settings: &ProxySettings) -> Self {
        let millis = |duration: Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        Self {
            header: millis(settings.header_timeout),
            idle: millis(settings.idle_timeout),
            body: millis(settings.body_timeout),
            response: millis(settings.response_timeout),
        }
    }
}

/// Where a connection is in its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Accepted, and no byte has come.
    Fresh,
    /// Between two requests.
    Idle,
    /// A head has begun to come.
    Head,
    /// A request's body is coming.
    Upload,
    /// The upstream has the whole request and has not begun its answer.
    Answer,
    /// The answer is going out.
    Stream,
    /// An event stream is going out: the upstream may be silent as long as it likes.
    Quiet,
    /// No longer HTTP.
    Tunnel,
    /// No longer HTTP, but a WebSocket: its frames are known.
    WebSocket,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Phase::Fresh,
            1 => Phase::Idle,
            2 => Phase::Head,
            3 => Phase::Upload,
            4 => Phase::Answer,
            5 => Phase::Stream,
            6 => Phase::Quiet,
            7 => Phase::Tunnel,
            _ => Phase::WebSocket,
        }
    }

    /// Whether it has no end of its own, and a form in which it can be ended.
    fn is_endless(self) -> bool {
        matches!(self, Phase::Quiet | Phase::WebSocket)
    }
}

/// What becomes of a connection that was poked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ruling {
    /// Nothing: it has moved meanwhile.
    Go,
    /// No request was under way for too long: close without a word.
    Close,
    /// The head took too long: answer 408.
    LateHead,
    /// The client sent no more of the request's body: answer 408.
    StalledUpload,
    /// The upstream took no more of the request's body, or did not begin its answer: answer 504.
    NoAnswer,
    /// The drain's deadline came before the answer had begun: answer 503.
    CutBeforeAnswer,
    /// The drain's deadline came for an endless stream: end it in form.
    Part,
    /// The instance is gone, and had not begun its answer: answer 502.
    Lost,
    /// The answer made no progress, or the drain's deadline came: break off.
    Cut,
}

impl Ruling {
    fn from_u8(value: u8) -> Self {
        let all = [
            Self::Go,
            Self::Close,
            Self::LateHead,
            Self::StalledUpload,
            Self::NoAnswer,
            Self::CutBeforeAnswer,
            Self::Part,
            Self::Lost,
            Self::Cut,
        ];
        all.into_iter()
            .find(|ruling| *ruling as u8 == value)
            .unwrap_or(Self::Cut)
    }
}

const LOOK: u8 = 1;
const CUT: u8 = 2;
const RETIRE: u8 = 4;
const LOST: u8 = 8;
const DRAINED: u8 = 16;
const PART: u8 = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Arc<Clock>,
    phase: AtomicU8,
    since: AtomicU64,
    /// Whether the client does not take what is written to it.
    blocked: AtomicBool,
    /// Whether the upstream has taken all of the request's body that came, and waits for more.
    hungry: AtomicBool,
    /// The id of the upstream that is serving this connection's request; 0: none.
    serving: AtomicU64,
    orders: AtomicU8,
    /// The upstream whose exchange is to be broken off: by the time the connection's task looks, another one may serve.
    doomed: AtomicU64,
    ruling: AtomicU8,
    waker: OnceLock<Waker>,
    /// When the stream was asked to end in form, in milliseconds and one more; 0: it was not.
    parting: AtomicU64,
    /// How long it must have been without a request before it may be closed at the proxy's end, in milliseconds.
    rest: AtomicU64,
    /// Whether nobody is told when the client sends something or goes away.
    unwatched: AtomicBool,
    /// The limits of the app that the request is for; 0: the proxy's.
    body_limit: AtomicU64,
    response_limit: AtomicU64,
}

impl Pulse {
    pub(super) fn new(clock: Arc<Clock>, phase: Phase) -> Self {
        Self {
            since: AtomicU64::new(clock.now()),
            clock,
            phase: AtomicU8::new(phase as u8),
            blocked: AtomicBool::new(false),
            hungry: AtomicBool::new(false),
            serving: AtomicU64::new(0),
            orders: AtomicU8::new(0),
            doomed: AtomicU64::new(0),
            ruling: AtomicU8::new(Ruling::Go as u8),
            waker: OnceLock::new(),
            parting: AtomicU64::new(0),
            rest: AtomicU64::new(0),
            unwatched: AtomicBool::new(false),
            body_limit: AtomicU64::new(0),
            response_limit: AtomicU64::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Relaxed))
    }

    /// Enters `phase` now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.touch();
    }

    /// Enters `to` if the phase is `from`.
    pub(super) fn advance(&self, from: Phase, to: Phase) {
        if self.phase.load(Relaxed) == from as u8 {
            self.enter(to);
        }
    }

    /// The time of the last sweep.
    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Progress was made.
    pub(super) fn touch(&self) {
        self.since.store(self.clock.now(), Relaxed);
    }

    /// Bytes of a request's head came from the client.
    pub(super) fn heard(&self) {
        let phase = self.phase.load(Relaxed);
        if phase == Phase::Idle as u8 || phase == Phase::Fresh as u8 {
            self.enter(Phase::Head);
        }
    }

    /// Bytes went to the client, or could not.
    pub(super) fn wrote(&self, went: bool) {
        if went {
            self.blocked.store(false, Relaxed);
            self.touch();
        } else if !self.blocked.swap(true, Relaxed) && self.phase() == Phase::Quiet {
            self.touch();
        }
    }

    /// Whether a request that has come whole is being answered, and there was progress within [`BRIEF`].
    pub(super) fn is_brief(&self) -> bool {
        matches!(self.phase(), Phase::Answer | Phase::Stream) && self.stayed() < BRIEF
    }

    /// Notes whether the client's socket is left alone for now: once the exchange is brief no more, the sweep pokes the
    /// connection, and it looks there.
    pub(super) fn goes_unwatched(&self, unwatched: bool) {
        self.unwatched.store(unwatched, Relaxed);
    }

    /// The upstream asked for more of the request's body, and it had `come` or had not.
    pub(super) fn fed(&self, come: bool) {
        self.hungry.store(!come, Relaxed);
        if come {
            self.touch();
        }
    }

    /// A request begins.
    pub(super) fn begin(&self, has_body: bool) {
        self.ruling.store(Ruling::Go as u8, Relaxed);
        self.hungry.store(false, Relaxed);
        self.enter(if has_body { Phase::Upload } else { Phase::Answer });
    }

    /// The request is for an app with limits of its own, or with none.
    pub(super) fn limit(&self, own: OwnLimits) {
        self.body_limit.store(own.body.unwrap_or(0), Relaxed);
        self.response_limit.store(own.response.unwrap_or(0), Relaxed);
    }

    /// An exchange is over.
    pub(super) fn rest(&self) {
        self.serving.store(0, Relaxed);
        self.unwatched.store(false, Relaxed);
        self.parting.store(0, Relaxed);
        self.enter(Phase::Idle);
    }

    /// Which upstream serves from here on; 0: none.
    pub(super) fn serve_by(&self, upstream: u64) {
        self.serving.store(upstream, SeqCst);
    }

    /// Asked by the connection's task wherever it waits for the client or the upstream.
    ///
    /// # Errors
    /// The ruling that it has to obey instead; it is given once.
    pub(super) fn obey(&self) -> Result<(), Ruling> {
        let ruling = match self.ruling.load(Relaxed) {
            0 => return Ok(()),
            ruling => Ruling::from_u8(ruling),
        };
        self.ruling.store(Ruling::Go as u8, Relaxed);
        match ruling {
            // An event stream or a WebSocket ends by itself.
            Ruling::Go | Ruling::Part => Ok(()),
            ruling => Err(ruling),
        }
    }

    /// Notes which task to wake; the first call counts, since a task's waker stays the same.
    pub(super) fn belongs_to(&self, waker: &Waker) {
        if self.waker.get().is_none() {
            let _ = self.waker.set(waker.clone());
        }
    }

    /// Called by the sweep: pokes the connection if it has overstayed, or if its client should be looked at.
    pub(super) fn sweep(&self, limits: &Limits) {
        let overlooked = self.unwatched.load(Relaxed) && !self.is_brief();
        if overlooked || self.overstayed(limits) != Ruling::Go {
            self.order(LOOK);
        }
    }

    /// Breaks everything off.
    pub(super) fn cut(&self) {
        self.order(CUT);
    }

    /// Breaks the exchange off that `upstream` serves, if it serves one.
    pub(super) fn cut_from(&self, upstream: u64) {
        self.order_of(upstream, DRAINED);
    }

    /// Ends the stream in form, where it is an endless one.
    pub(super) fn part(&self) {
        if self.phase().is_endless() {
            self.order(PART);
        }
    }

    /// For how many milliseconds the stream has been asked to end in form; none: it has not.
    pub(super) fn parting(&self) -> Option<u64> {
        let since = self.parting.load(Relaxed).checked_sub(1)?;
        Some(self.clock.now().saturating_sub(since))
    }

    /// Breaks the exchange off that `upstream` serves, if it serves one: the instance is gone.
    pub(super) fn lose(&self, upstream: u64) {
        self.order_of(upstream, LOST);
    }

    /// The upstream whose answer is waited for, or for more of it, without progress for `patience` milliseconds.
    pub(super) fn waits_for(&self, patience: u64) -> Option<u64> {
        let waits = matches!(self.phase(), Phase::Upload | Phase::Answer | Phase::Stream);
        let serving = self.serving.load(Relaxed);
        (waits && serving != 0 && self.stayed() >= patience).then_some(serving)
    }

    /// Closes the connection if there was no request for `rest` milliseconds: its client was told that it stays, and may be
    /// sending the next one.
    pub(super) fn retire(&self, rest: u64) {
        self.rest.store(rest, Relaxed);
        if self.has_rested() {
            self.order(RETIRE);
        }
    }

    fn has_rested(&self) -> bool {
        matches!(self.phase(), Phase::Fresh | Phase::Idle) && self.stayed() >= self.rest.load(Relaxed)
    }

    fn order_of(&self, upstream: u64, order: u8) {
        if self.serving.load(SeqCst) == upstream {
            self.doomed.store(upstream, SeqCst);
            self.order(order);
        }
    }

    fn order(&self, order: u8) {
        self.orders.fetch_or(order, SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// What the connection's task has to do with itself; to be asked at every poll.
    pub(super) fn orders(&self, limits: &Limits) -> Ruling {
        if self.orders.load(Relaxed) == 0 {
            return Ruling::Go;
        }
        let orders = self.orders.swap(0, SeqCst);
        let has = |order: u8| orders & order != 0;
        let before_answer = matches!(self.phase(), Phase::Upload | Phase::Answer);
        // What was ordered for an exchange that has ended meanwhile is not for the next one.
        let is_doomed = self.serving.load(SeqCst) == self.doomed.load(SeqCst);
        let lost = has(LOST) && is_doomed;
        let cut = has(CUT) || has(DRAINED) && is_doomed || has(PART) && self.phase().is_endless();
        let ruling = match () {
            () if cut && before_answer => Ruling::CutBeforeAnswer,
            () if lost && before_answer => Ruling::Lost,
            () if cut && self.may_part() => Ruling::Part,
            () if cut || lost => Ruling::Cut,
            () if has(LOOK) => self.overstayed(limits),
            () if has(RETIRE) && self.has_rested() => Ruling::Close,
            () => Ruling::Go,
        };
        if ruling != Ruling::Go {
            self.ruling.store(ruling as u8, Relaxed);
        }
        ruling
    }

    /// Whether the stream can end in form; its time for that begins with the first call.
    fn may_part(&self) -> bool {
        if !self.phase().is_endless() {
            return false;
        }
        let parting = self.parting();
        if parting.is_none() {
            self.parting.store(self.clock.now() + 1, Relaxed);
        }
        parting.is_none_or(|parting| parting < PARTING)
    }

    fn overstayed(&self, limits: &Limits) -> Ruling {
        let own = |limit: &AtomicU64, proxys: u64| match limit.load(Relaxed) {
            0 => proxys,
            own => own,
        };
        let limits = Limits {
            body: own(&self.body_limit, limits.body),
            response: own(&self.response_limit, limits.response),
            ..*limits
        };
        let (limit, ruling) = match self.phase() {
            Phase::Fresh => (limits.header, Ruling::Close),
            Phase::Head => (limits.header, Ruling::LateHead),
            Phase::Idle => (limits.idle, Ruling::Close),
            Phase::Upload if self.hungry.load(Relaxed) => (limits.body, Ruling::StalledUpload),
            Phase::Upload => (limits.body, Ruling::NoAnswer),
            Phase::Answer => (limits.response, Ruling::NoAnswer),
            Phase::Stream => (limits.body, Ruling::Cut),
            Phase::Quiet if self.blocked.load(Relaxed) => (limits.body, Ruling::Cut),
            Phase::Quiet | Phase::Tunnel | Phase::WebSocket => return Ruling::Go,
        };
        if self.stayed() >= limit {
            ruling
        } else {
            Ruling::Go
        }
    }

    /// Milliseconds without progress.
    fn stayed(&self) -> u64 {
        self.clock.now().saturating_sub(self.since.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    const LIMITS: Limits = Limits {
        header: 10 * BRIEF,
        idle: 10 * BRIEF,
        body: 10 * BRIEF,
        response: 10 * BRIEF,
    };

    /// A connection whose request the upstream 1 is answering.
    fn served() -> Pulse {
        let pulse = Pulse::new(Arc::new(Clock::new()), Phase::Fresh);
        pulse.begin(false);
        pulse.serve_by(1);
        pulse.enter(Phase::Stream);
        pulse
    }

    /// Each way of breaking off what the upstream 1 serves.
    const ORDERS: [fn(&Pulse); 2] = [|pulse| pulse.cut_from(1), |pulse| pulse.lose(1)];

    #[test]
    fn what_an_upstream_serves_is_broken_off() {
        for order in ORDERS {
            let pulse = served();
            order(&pulse);
            assert_eq!(pulse.orders(&LIMITS), Ruling::Cut);
        }
    }

    #[test]
    fn an_exchange_that_has_ended_is_not_broken_off() {
        for order in ORDERS {
            let pulse = served();
            order(&pulse);
            pulse.rest();
            assert_eq!(
                pulse.orders(&LIMITS),
                Ruling::Go,
                "the connection may have its next request"
            );
        }
    }

    #[test]
    fn the_next_exchange_is_not_broken_off_in_the_place_of_the_last() {
        for order in ORDERS {
            let pulse = served();
            order(&pulse);
            pulse.rest();
            pulse.begin(false);
            pulse.serve_by(2);
            assert_eq!(pulse.orders(&LIMITS), Ruling::Go);
            order(&pulse);
            assert_eq!(pulse.orders(&LIMITS), Ruling::Go, "another upstream serves it");
        }
    }

    /// Counts how often its task is woken.
    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A connection whose client is left alone while its first request is answered, and how often it is woken.
    fn unwatched() -> (Pulse, Arc<Woken>) {
        let (pulse, woken) = (served(), Arc::new(Woken::default()));
        pulse.belongs_to(&Waker::from(Arc::clone(&woken)));
        assert!(pulse.is_brief());
        pulse.goes_unwatched(true);
        (pulse, woken)
    }

    #[test]
    fn a_connection_that_is_not_watched_is_woken_by_the_sweep_when_its_answer_takes_longer() {
        let (pulse, woken) = unwatched();
        pulse.sweep(&LIMITS);
        assert_eq!(woken.0.load(Relaxed), 0);
        pulse.clock.now.store(BRIEF, Relaxed);
        pulse.sweep(&LIMITS);
        assert_eq!(woken.0.load(Relaxed), 1);
        assert!(!pulse.is_brief(), "it is to be watched from now on");
        assert_eq!(pulse.orders(&LIMITS), Ruling::Go);
    }

    #[test]
    fn a_stream_that_ended_before_it_was_parted_leaves_its_connection_open() {
        let pulse = served();
        pulse.enter(Phase::Quiet);
        pulse.part();
        pulse.rest();
        assert_eq!(pulse.orders(&LIMITS), Ruling::Go);
    }
}
