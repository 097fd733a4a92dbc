//! What rounds came to: the report of the last one, and a point for each that the page draws, of this process.

use std::sync::Arc;

use crate::moment::{Moment, Timestamp};
use crate::report::{Report, RoundPoint};

use super::Engine;

/// Points that are kept: three days of rounds every quarter of an hour.
const KEPT: usize = 288;

/// What finished rounds left.
#[derive(Debug, Default)]
pub(super) struct History {
    pub report: Option<Arc<Report>>,
    /// When the last one ended.
    pub last: Option<Timestamp>,
    pub points: Arc<[RoundPoint]>,
}

impl Engine {
    /// A round is over.
    pub(super) fn keep_point(&mut self, report: &Report, now: Moment) {
        let oldest = self.checks.values().filter_map(|state| state.conclusive).map(|(_, at)| at).min();
        let quota =
            self.organization_views(now).iter().filter_map(|view| view.quota_remaining).reduce(f64::min);
        let point = RoundPoint {
            at: report.finished_at,
            summary: report.summary,
            oldest: oldest.map(|at| now.wall.since(at)),
            quota,
        };
        let mut points = self.history.points.to_vec();
        if points.len() >= KEPT {
            points.remove(0);
        }
        points.push(point);
        self.history.points = Arc::from(points);
    }
}
