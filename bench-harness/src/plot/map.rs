//! A map of figures: ways of doing something by size, one panel per
//! circumstance; drawn as coloured cells or as lines.

use super::axis::{LogAxis, short, three_digits};
use super::canvas::{Anchor, Canvas, Colour, FAINT, GRID, INK, text_width};

/// The same rows and columns in every panel.
pub struct Map {
    pub title: String,
    pub subtitle: String,
    /// Strategies, say.
    pub rows: Vec<String>,
    /// Sizes, say, from small to large.
    pub columns: Vec<String>,
    pub column_axis: String,
    /// Of the figures, more being better: GB/s.
    pub unit: String,
    pub panels: Vec<MapPanel>,
}

pub struct MapPanel {
    pub title: String,
    /// By row, then column; none where it was not or could not be measured.
    pub values: Vec<Vec<Option<f64>>>,
}

const CELL_WIDTH: f64 = 52.0;
const CELL_HEIGHT: f64 = 24.0;
const TOP: f64 = 66.0;
const ABOVE: f64 = 30.0;
const BELOW: f64 = 48.0;
const GAP: f64 = 34.0;
const PANELS_ACROSS: usize = 2;
const SCALE_HEIGHT: f64 = 44.0;
const SCALE_WIDTH: f64 = 200.0;

/// Dark to light in steps that eyes of every kind see as even (cividis).
const RAMP: [(f64, f64, f64); 6] = [
    (0.0, 34.0, 78.0),
    (53.0, 69.0, 108.0),
    (102.0, 105.0, 112.0),
    (148.0, 142.0, 119.0),
    (200.0, 184.0, 102.0),
    (254.0, 232.0, 56.0),
];

impl Map {
    /// Coloured cells with their figures, the best of each column framed.
    pub fn draw_cells(&self) -> String {
        let labels = self.label_width();
        let titles = self.panels.iter().map(|panel| text_width(&panel.title, 14.0));
        let cells = self.columns.len() as f64 * CELL_WIDTH;
        let panel_width = labels + titles.fold(cells, f64::max) + GAP;
        let panel_height = ABOVE + self.rows.len() as f64 * CELL_HEIGHT + BELOW;
        let scale = 20.0 + labels + SCALE_WIDTH + 10.0 + text_width(&self.scale_text(), 12.0);
        let (mut canvas, across) = self.sheet((panel_width, panel_height), SCALE_HEIGHT, scale);
        let (least, most) = self.range();
        for (i, panel) in self.panels.iter().enumerate() {
            let x = 20.0 + (i % across) as f64 * panel_width;
            let y = TOP + (i / across) as f64 * panel_height;
            self.draw_panel(&mut canvas, panel, (x, y), labels, (least, most));
        }
        let down = self.panels.len().div_ceil(across) as f64;
        self.draw_scale(&mut canvas, 20.0 + labels, TOP + down * panel_height, (least, most));
        canvas.finish()
    }

    /// One line per row of the map.
    pub fn draw_lines(&self) -> String {
        let (panel_width, panel_height, top) = (480.0, 320.0, TOP + 30.0);
        let (mut canvas, across) = self.sheet((panel_width, panel_height), 30.0, 0.0);
        let series: Vec<_> = self
            .rows
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), Colour::of_series(i).0, Colour::of_series(i).1))
            .collect();
        canvas.legend(20.0, TOP + 8.0, &series);
        for (i, panel) in self.panels.iter().enumerate() {
            let x = (i % across) as f64 * panel_width;
            let y = top + (i / across) as f64 * panel_height;
            self.draw_line_panel(&mut canvas, panel, (x, y), (panel_width, panel_height));
        }
        canvas.finish()
    }

    fn scale_text(&self) -> String {
        format!("{}, logarithmic; framed: the best of its column", self.unit)
    }

    /// With `below` under the panels, in which something is `wide`.
    fn sheet(
        &self,
        (panel_width, panel_height): (f64, f64),
        below: f64,
        wide: f64,
    ) -> (Canvas, usize) {
        let across = self.panels.len().clamp(1, PANELS_ACROSS);
        let down = self.panels.len().div_ceil(across).max(1);
        let legend: f64 = self.rows.iter().map(|row| 50.0 + text_width(row, 12.0)).sum();
        let title = text_width(&self.title, 19.0).max(text_width(&self.subtitle, 12.0));
        let width = (20.0 + across as f64 * panel_width)
            .max(legend + 20.0)
            .max(title + 40.0)
            .max(wide + 20.0);
        let mut canvas = Canvas::new(width, TOP + down as f64 * panel_height + below);
        canvas.text(20.0, 30.0, 19.0, &self.title);
        canvas.label(20.0, 50.0, 12.0, Anchor::Start, FAINT, &self.subtitle);
        (canvas, across)
    }

    fn label_width(&self) -> f64 {
        self.rows.iter().map(|row| text_width(row, 12.0)).fold(40.0, f64::max) + 12.0
    }

    fn range(&self) -> (f64, f64) {
        let values = self.panels.iter().flat_map(|panel| panel.values.iter().flatten().flatten());
        let least = values.clone().copied().fold(f64::INFINITY, f64::min);
        let most = values.copied().fold(0.0, f64::max);
        if least < most { (least, most) } else { (0.0, most.max(1.0)) }
    }

    fn draw_panel(
        &self,
        canvas: &mut Canvas,
        panel: &MapPanel,
        at: (f64, f64),
        labels: f64,
        range: (f64, f64),
    ) {
        let (left, top) = (at.0 + labels, at.1 + ABOVE);
        canvas.text(left, at.1 + 18.0, 14.0, &panel.title);
        for (r, row) in self.rows.iter().enumerate() {
            let y = top + r as f64 * CELL_HEIGHT;
            canvas.label(left - 8.0, y + 16.0, 12.0, Anchor::End, INK, row);
            for c in 0..self.columns.len() {
                let value = panel.value(r, c);
                draw_cell(canvas, (left + c as f64 * CELL_WIDTH, y), value, range);
            }
        }
        let bottom = top + self.rows.len() as f64 * CELL_HEIGHT;
        for (c, column) in self.columns.iter().enumerate() {
            let x = left + c as f64 * CELL_WIDTH;
            if let Some(best) = panel.best_of_column(c, self.rows.len()) {
                let y = top + best as f64 * CELL_HEIGHT;
                canvas.frame(x + 1.5, y + 1.5, CELL_WIDTH - 3.0, CELL_HEIGHT - 3.0, INK, 2.4);
            }
            let middle = x + CELL_WIDTH / 2.0;
            canvas.label(middle, bottom + 15.0, 11.0, Anchor::Middle, FAINT, column);
        }
        let middle = left + self.columns.len() as f64 * CELL_WIDTH / 2.0;
        canvas.label(middle, bottom + 32.0, 12.0, Anchor::Middle, FAINT, &self.column_axis);
    }

    fn draw_scale(&self, canvas: &mut Canvas, x: f64, y: f64, (least, most): (f64, f64)) {
        let steps = 40;
        let step = SCALE_WIDTH / f64::from(steps);
        for i in 0..steps {
            let share = f64::from(i) / f64::from(steps - 1);
            canvas.rect(x + f64::from(i) * step, y, step + 0.5, 12.0, &ramp(share).0);
        }
        let end = x + f64::from(steps) * step;
        canvas.label(x, y + 26.0, 11.0, Anchor::Start, FAINT, &three_digits(least));
        canvas.label(end, y + 26.0, 11.0, Anchor::End, FAINT, &three_digits(most));
        canvas.label(end + 10.0, y + 11.0, 12.0, Anchor::Start, FAINT, &self.scale_text());
    }

    fn draw_line_panel(
        &self,
        canvas: &mut Canvas,
        panel: &MapPanel,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
    ) {
        let (left, right) = (x + 74.0, x + width - 20.0);
        let (top, bottom) = (y + ABOVE, y + height - 52.0);
        canvas.text(left, y + 18.0, 14.0, &panel.title);
        let axis = LogAxis::covering(panel.values.iter().flatten().flatten().copied());
        let steps = (self.columns.len().max(2) - 1) as f64;
        let at = |column: usize, value: f64| {
            let across = left + column as f64 / steps * (right - left);
            (across, bottom - axis.place(value) * (bottom - top))
        };
        for tick in axis.ticks() {
            let (_, y) = at(0, tick);
            canvas.line((left, y), (right, y), GRID, 1.0);
            canvas.label(left - 6.0, y + 4.0, 11.0, Anchor::End, FAINT, &short(tick));
        }
        for (c, column) in self.columns.iter().enumerate() {
            let (x, _) = at(c, 1.0);
            canvas.line((x, bottom), (x, bottom + 4.0), FAINT, 1.0);
            canvas.label(x, bottom + 17.0, 10.0, Anchor::Middle, FAINT, column);
        }
        canvas.frame(left, top, right - left, bottom - top, FAINT, 1.0);
        let middle = (left + right) / 2.0;
        canvas.label(middle, bottom + 35.0, 12.0, Anchor::Middle, FAINT, &self.column_axis);
        canvas.upright(x + 22.0, (top + bottom) / 2.0, 12.0, &self.unit);
        for r in 0..self.rows.len() {
            let (colour, dashes) = Colour::of_series(r);
            let columns = 0..self.columns.len();
            let points: Vec<_> =
                columns.filter_map(|c| panel.value(r, c).map(|value| at(c, value))).collect();
            canvas.polyline(&points, colour.0, dashes);
            for point in points {
                canvas.dot(point, 2.6, colour.0);
            }
        }
    }
}

impl MapPanel {
    fn value(&self, row: usize, column: usize) -> Option<f64> {
        self.values.get(row)?.get(column).copied().flatten()
    }

    fn best_of_column(&self, column: usize, rows: usize) -> Option<usize> {
        let there = (0..rows).filter_map(|row| self.value(row, column).map(|value| (row, value)));
        there.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }
}

fn draw_cell(canvas: &mut Canvas, at: (f64, f64), value: Option<f64>, (least, most): (f64, f64)) {
    let (x, y) = at;
    let Some(value) = value else {
        canvas.rect(x, y, CELL_WIDTH - 1.0, CELL_HEIGHT - 1.0, "#f2f2f2");
        canvas.label(x + CELL_WIDTH / 2.0, y + 16.0, 11.0, Anchor::Middle, FAINT, "–");
        return;
    };
    let floor = least.max(most / 1e6);
    let share = ((value / floor).ln() / (most / floor).ln()).clamp(0.0, 1.0);
    let (fill, ink) = ramp(share);
    canvas.rect(x, y, CELL_WIDTH - 1.0, CELL_HEIGHT - 1.0, &fill);
    let text = three_digits(value);
    canvas.label(x + CELL_WIDTH / 2.0, y + 16.0, 11.5, Anchor::Middle, ink, &text);
}

/// A colour of the ramp, and the ink that can be read on it.
fn ramp(share: f64) -> (String, &'static str) {
    let place = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let below = (place as usize).min(RAMP.len() - 2);
    let (a, b, t) = (RAMP[below], RAMP[below + 1], place - below as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * t).round() as u8;
    let (red, green, blue) = (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2));
    let ink = if share > 0.55 { INK } else { "#ffffff" };
    (format!("#{red:02x}{green:02x}{blue:02x}"), ink)
}
