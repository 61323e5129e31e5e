//! Latency by percentile, as HdrHistogram's plots show it: both axes
//! logarithmic, the horizontal one in the share of requests that are slower.

use super::axis::{LogAxis, time};
use super::canvas::{Anchor, Canvas, Colour, FAINT, GRID, INK, text_width};

pub struct CurvePlot {
    pub title: String,
    pub subtitle: String,
    pub panels: Vec<CurvePanel>,
}

pub struct CurvePanel {
    pub title: String,
    /// Which loop it was, and how much in flight.
    pub note: String,
    pub curves: Vec<Curve>,
}

pub struct Curve {
    pub name: String,
    pub colour: Colour,
    pub dashes: &'static str,
    /// Quantile from 0 to 1 and microseconds, rising in both.
    pub points: Vec<(f64, f64)>,
}

const PANEL_WIDTH: f64 = 470.0;
const PANEL_HEIGHT: f64 = 320.0;
const TOP: f64 = 92.0;
/// Around the drawing area of a panel.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 44.0;
const BELOW: f64 = 50.0;

/// Where the axis ends: five nines.
const NINES_MAX: f64 = 5.0;
const SHARE_MIN: f64 = 0.99999e-5;
const TICKS: [(f64, &str); 7] = [
    (0.0, "0"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (0.99999, "99.999"),
];

impl CurvePlot {
    pub fn draw(&self) -> String {
        let columns = self.panels.len().clamp(1, 2);
        let rows = self.panels.len().div_ceil(columns).max(1);
        let width = (columns as f64 * PANEL_WIDTH).max(640.0);
        let mut canvas = Canvas::new(width, TOP + rows as f64 * PANEL_HEIGHT);
        canvas.text(20.0, 30.0, 19.0, &self.title);
        canvas.label(20.0, 50.0, 12.0, Anchor::Start, FAINT, &self.subtitle);
        canvas.legend(20.0, 76.0, &self.legend());
        for (i, panel) in self.panels.iter().enumerate() {
            let x = (i % columns) as f64 * PANEL_WIDTH;
            let y = TOP + (i / columns) as f64 * PANEL_HEIGHT;
            panel.draw(&mut canvas, x, y);
        }
        canvas.finish()
    }

    /// Every name once, in the order in which they come.
    fn legend(&self) -> Vec<(&str, Colour, &str)> {
        let mut entries: Vec<(&str, Colour, &str)> = Vec::new();
        for curve in self.panels.iter().flat_map(|panel| &panel.curves) {
            if !entries.iter().any(|(name, ..)| *name == curve.name) {
                entries.push((&curve.name, curve.colour, curve.dashes));
            }
        }
        entries
    }
}

/// Nought to one along the horizontal axis.
fn place(quantile: f64) -> f64 {
    let nines = -(1.0 - quantile).max(10f64.powf(-NINES_MAX)).log10();
    nines / NINES_MAX
}

impl CurvePanel {
    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64) {
        let (left, right) = (x + LEFT, x + PANEL_WIDTH - RIGHT);
        let (top, bottom) = (y + ABOVE, y + PANEL_HEIGHT - BELOW);
        canvas.text(left, y + 18.0, 14.0, &self.title);
        canvas.label(left, y + 34.0, 11.0, Anchor::Start, FAINT, &self.note);
        let all = self.curves.iter().flat_map(|curve| &curve.points);
        let axis = LogAxis::covering(all.map(|point| point.1));
        let at = |quantile: f64, us: f64| {
            let (across, up) = (place(quantile), axis.place(us));
            (left + across * (right - left), bottom - up * (bottom - top))
        };
        for tick in axis.ticks() {
            let (_, y) = at(0.0, tick);
            canvas.line((left, y), (right, y), GRID, 1.0);
            canvas.label(left - 6.0, y + 4.0, 11.0, Anchor::End, FAINT, &time(tick));
        }
        for (quantile, name) in TICKS {
            let (x, _) = at(quantile, 1.0);
            canvas.line((x, top), (x, bottom), GRID, 1.0);
            canvas.label(x, bottom + 16.0, 11.0, Anchor::Middle, FAINT, name);
        }
        canvas.frame(left, top, right - left, bottom - top, FAINT, 1.0);
        let middle = (left + right) / 2.0;
        canvas.label(middle, bottom + 34.0, 12.0, Anchor::Middle, FAINT, "percentile");
        canvas.upright(x + 16.0, (top + bottom) / 2.0, 12.0, "latency");
        for curve in &self.curves {
            // The longest of all says little; the axis ends before it.
            let shown = curve.points.iter().filter(|point| 1.0 - point.0 >= SHARE_MIN);
            let points: Vec<(f64, f64)> = shown.map(|point| at(point.0, point.1)).collect();
            canvas.polyline(&points, curve.colour.0, curve.dashes);
            if let Some(&end) = points.last() {
                canvas.dot(end, 2.6, curve.colour.0);
            }
        }
        if self.curves.is_empty() {
            let text = "nothing measured";
            let x = middle - text_width(text, 12.0) / 2.0;
            canvas.label(x, (top + bottom) / 2.0, 12.0, Anchor::Start, INK, text);
        }
    }
}
