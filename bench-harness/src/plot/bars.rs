//! Horizontal bars in groups: each group on a scale of its own from zero to
//! its longest, since workloads differ a thousandfold and bars must not lie.

use super::axis::short;
use super::canvas::{Anchor, Canvas, Colour, FAINT, GRID, INK, text_width};

pub struct BarPlot {
    pub title: String,
    pub subtitle: String,
    /// What the length of a bar is.
    pub axis: String,
    pub legend: Vec<(String, Colour)>,
    pub sections: Vec<BarSection>,
}

/// Groups under one heading.
pub struct BarSection {
    pub title: String,
    pub groups: Vec<BarGroup>,
}

pub struct BarGroup {
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub colour: Colour,
    pub value: f64,
    /// The least and the most of the rounds.
    pub spread: Option<(f64, f64)>,
    /// What else is to be said of it.
    pub note: String,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 330.0;
/// Where the longest bar ends; its figure and note come after it.
const RIGHT: f64 = 660.0;
const BAR: f64 = 13.0;
const BAR_STEP: f64 = 16.0;
const GROUP_GAP: f64 = 12.0;
const HEADING: f64 = 34.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 46.0;

impl BarPlot {
    pub fn draw(&self) -> String {
        let height_of = |section: &BarSection| {
            HEADING + section.groups.iter().map(BarGroup::height).sum::<f64>()
        };
        let body: f64 = self.sections.iter().map(height_of).sum();
        let mut canvas = Canvas::new(WIDTH, TOP + body + BOTTOM);
        canvas.text(20.0, 30.0, 19.0, &self.title);
        canvas.label(20.0, 50.0, 12.0, Anchor::Start, FAINT, &self.subtitle);
        canvas.swatches(20.0, 76.0, &self.legend);
        let mut y = TOP;
        for section in &self.sections {
            canvas.text(20.0, y + 20.0, 14.0, &section.title);
            canvas.line((20.0, y + 27.0), (WIDTH - 20.0, y + 27.0), GRID, 1.0);
            y += HEADING;
            for group in &section.groups {
                group.draw(&mut canvas, y);
                y += group.height();
            }
        }
        self.draw_axis(&mut canvas, y);
        canvas.finish()
    }

    fn draw_axis(&self, canvas: &mut Canvas, y: f64) {
        canvas.line((LEFT, y), (RIGHT, y), FAINT, 1.0);
        for quarter in 0..=4 {
            let share = f64::from(quarter) / 4.0;
            let x = LEFT + share * (RIGHT - LEFT);
            canvas.line((x, y), (x, y + 4.0), FAINT, 1.0);
            let text = format!("{:.0} %", share * 100.0);
            canvas.label(x, y + 17.0, 11.0, Anchor::Middle, FAINT, &text);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        canvas.label(middle, y + 34.0, 12.0, Anchor::Middle, FAINT, &self.axis);
    }
}

impl BarGroup {
    fn height(&self) -> f64 {
        self.bars.len() as f64 * BAR_STEP + GROUP_GAP
    }

    fn longest(&self) -> f64 {
        let ends = self.bars.iter().map(|bar| bar.spread.map_or(bar.value, |(_, most)| most));
        ends.fold(0.0, f64::max)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let middle = top + self.bars.len() as f64 * BAR_STEP / 2.0;
        canvas.label(LEFT - 10.0, middle + 3.0, 12.0, Anchor::End, INK, &self.title);
        canvas.line((LEFT, top - 3.0), (LEFT, top + self.height() - GROUP_GAP), FAINT, 1.0);
        let scale = (RIGHT - LEFT) / self.longest().max(f64::MIN_POSITIVE);
        for (i, bar) in self.bars.iter().enumerate() {
            let y = top + i as f64 * BAR_STEP;
            canvas.rect(LEFT, y, (bar.value * scale).max(0.8), BAR, bar.colour.0);
            let mut end = LEFT + bar.value * scale;
            if let Some((least, most)) = bar.spread {
                whisker(canvas, LEFT + least * scale, LEFT + most * scale, y + BAR / 2.0);
                end = end.max(LEFT + most * scale);
            }
            let figure = short(bar.value);
            canvas.text(end + 8.0, y + 11.0, 12.0, &figure);
            let after = end + 8.0 + text_width(&figure, 12.0) + 8.0;
            canvas.label(after, y + 11.0, 11.0, Anchor::Start, FAINT, &bar.note);
        }
    }
}

/// From the least to the most, visible on the bar and beyond it.
fn whisker(canvas: &mut Canvas, least: f64, most: f64, y: f64) {
    if most - least < 1.0 {
        return;
    }
    canvas.line((least, y), (most, y), INK, 1.2);
    for x in [least, most] {
        canvas.line((x, y - 3.5), (x, y + 3.5), INK, 1.2);
    }
}
