//! Small plots of the last rounds, as inline SVG: sizes and places here, colours in the style sheet.

use crate::report::RoundPoint;

use super::look::spell;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;
/// Widest bar: few rounds are few bars, the last of them on the right.
const WIDEST: f64 = 8.0;

/// One plot.
pub(super) struct Plot {
    pub title: &'static str,
    /// What it shows, in words.
    pub text: String,
    pub bars: Vec<Bar>,
    /// Points of a line, empty where there are only bars.
    pub line: String,
}

pub(super) struct Bar {
    pub class: &'static str,
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
}

/// All plots of these rounds; none before there are two.
pub(super) fn of(points: &[RoundPoint]) -> Vec<Plot> {
    let Some(last) = points.last().filter(|_| points.len() > 1) else { return Vec::new() };
    let s = last.summary;
    let drift = s.unexpected_grant + s.unexpected_denial;
    let answers = Plot {
        title: "Answers",
        text: format!("last round: {} ok, {} unknown, {drift} drift", s.ok, s.unknown),
        bars: bars(points),
        line: String::new(),
    };
    let oldest = |point: &RoundPoint| point.oldest.map(|age| age.as_secs_f64());
    let quota = |point: &RoundPoint| point.quota;
    let oldest_now = last.oldest.map_or_else(|| "unknown".to_owned(), |age| spell(age.as_secs()));
    let share = last.quota.map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", share * 100.0));
    vec![
        answers,
        Plot {
            title: "Oldest answer",
            text: format!("last round: {oldest_now}"),
            bars: Vec::new(),
            line: line(points, oldest, points.iter().filter_map(oldest).fold(1.0, f64::max)),
        },
        Plot {
            title: "Rate limit left",
            text: format!("last round: {share}"),
            bars: Vec::new(),
            line: line(points, quota, 1.0),
        },
    ]
}

fn place(at: usize, of: usize) -> f64 {
    WIDTH * index(at) / index(of.max(1))
}

fn index(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Of each round its drift, what is unknown and what is as expected, one above the other.
fn bars(points: &[RoundPoint]) -> Vec<Bar> {
    let width = (WIDTH / index(points.len())).clamp(0.5, WIDEST);
    let first = WIDTH - width * index(points.len());
    let mut bars = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let s = point.summary;
        let mut below = HEIGHT;
        for (class, count) in
            [("bad", s.unexpected_grant + s.unexpected_denial), ("unsure", s.unknown), ("good", s.ok)]
        {
            let height = HEIGHT * index(count) / index(s.checks.max(1));
            below -= height;
            if count > 0 {
                let [x, y, width, height] =
                    [first + width * index(at), below, width * 0.85, height].map(|size| format!("{size:.1}"));
                bars.push(Bar { class, x, y, width, height });
            }
        }
    }
    bars
}

fn line(points: &[RoundPoint], value: impl Fn(&RoundPoint) -> Option<f64>, most: f64) -> String {
    let known = points.iter().enumerate().filter_map(|(at, point)| Some((at, value(point)?)));
    let corner = |(at, value): (usize, f64)| {
        format!(
            "{:.1},{:.1}",
            place(at, points.len() - 1),
            HEIGHT - (HEIGHT - 2.0) * (value / most).clamp(0.0, 1.0)
        )
    };
    known.map(corner).collect::<Vec<_>>().join(" ")
}
