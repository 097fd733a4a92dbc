//! What others use of a window that they share with us, estimated from what the Hub says is left.
//!
//! In a window, others have used what is neither left nor ours. From that follow a mean rate with a margin of
//! confidence, the highest rate that lasted some seconds, and the largest step between two answers; what others will
//! need until the window ends is taken from the worst of them. Pure arithmetic over seconds; knows no clock and no user.

/// Standard deviations that are kept in reserve.
const SIGMAS: f64 = 3.0;
/// Standard deviations by which the mean may be wrong.
const DOUBT: f64 = 3.0;
/// For how many seconds of looking the rate of earlier windows counts.
const PRIOR_SECONDS: f64 = 30.0;
/// Over how many seconds a rate must have lasted to count.
const BUCKET: f64 = 5.0;
/// How much of the recent rate the latest bucket makes up.
const LATEST: f64 = 0.3;
/// In so many seconds a peak and a step are half forgotten.
const HALF_LIFE: f64 = 60.0;

/// An estimate, going on from window to window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Others {
    /// Used in this window as of the latest answer, and over how many seconds of it.
    used: f64,
    over: f64,
    /// Requests a second in earlier windows, if any was seen.
    prior: Option<f64>,
    /// Of the bucket under way.
    bucket: f64,
    bucket_over: f64,
    /// Requests a second, lately and at the worst.
    recent: f64,
    peak: f64,
    /// The largest number at once beyond the mean.
    step: f64,
}

impl Others {
    /// An answer: others have used so many in this window so far, which began so many seconds ago.
    pub(super) fn seen(&mut self, used: f64, over: f64) {
        let (more, passed) = ((used - self.used).max(0.0), (over - self.over).max(0.0));
        let fade = 0.5_f64.powf(passed / HALF_LIFE);
        let foreseen = self.mean().max(self.peak) * passed;
        // What came over a long time did not come at once.
        self.step = (self.step * fade).max((more - foreseen) / passed.max(1.0));
        self.peak *= fade;
        // Several answers of one moment are one look.
        self.bucket += more;
        self.bucket_over += passed;
        self.used = self.used.max(used);
        self.over = self.over.max(over);
        if self.bucket_over >= BUCKET {
            let rate = self.bucket / self.bucket_over;
            let latest = 1.0 - (1.0 - LATEST).powf(self.bucket_over / BUCKET);
            self.recent += latest * (rate - self.recent);
            self.peak = self.peak.max(self.recent);
            (self.bucket, self.bucket_over) = (0.0, 0.0);
        }
    }

    /// The first answer of the first window that is seen at all: its beginning was before us.
    pub(super) fn met(&mut self, used: f64, over: f64) {
        (self.used, self.over) = (used, over);
        self.recent = if over > 0.0 { used / over } else { 0.0 };
    }

    /// Another window begins.
    pub(super) fn begin(&mut self) {
        if self.over >= PRIOR_SECONDS {
            self.prior = Some(self.used / self.over);
        }
        (self.used, self.over) = (0.0, 0.0);
    }

    /// Requests a second, as a rule.
    pub(super) fn mean(&self) -> f64 {
        match self.prior {
            Some(prior) => (self.used + prior * PRIOR_SECONDS) / (self.over + PRIOR_SECONDS),
            None => self.used / self.over.max(1.0),
        }
    }

    /// What they need in so many seconds at most, as far as can be foreseen.
    pub(super) fn need(&self, seconds: f64) -> f64 {
        let looked = self.over + self.prior.map_or(0.0, |_| PRIOR_SECONDS);
        let doubt = DOUBT * (self.mean() * looked + 1.0).sqrt() / looked.max(1.0);
        let rate = (self.mean() + doubt).max(self.peak);
        let expected = rate * seconds;
        expected + SIGMAS * (expected * (1.0 + self.step)).sqrt() + self.step + 1.0
    }
}
