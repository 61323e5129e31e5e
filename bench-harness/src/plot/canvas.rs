//! A drawing in the making: shapes at places, all text escaped.

use svg::node::element::{Circle, Line, Path, Rectangle, Text, path::Data};
use svg::{Document, Node};

/// The family of the font that PNGs are made with.
pub const FONT: &str = "Ubuntu";
const FAMILIES: &str = "Ubuntu, 'DejaVu Sans', sans-serif";

/// Colours that are told apart with any colour vision (Okabe and Ito's set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub &'static str);

impl Colour {
    pub const BLUE: Colour = Colour("#0072b2");
    pub const VERMILLION: Colour = Colour("#d55e00");
    pub const GREEN: Colour = Colour("#009e73");
    const ORANGE: Colour = Colour("#e69f00");
    const SKY: Colour = Colour("#56b4e9");
    const PURPLE: Colour = Colour("#cc79a7");
    const GREY: Colour = Colour("#777777");
    const BLACK: Colour = Colour("#111111");

    /// The `i`-th of a set of series, and its dashes, which tell them apart in grey as well.
    pub fn of_series(i: usize) -> (Colour, &'static str) {
        const SERIES: [Colour; 8] = [
            Colour::BLUE,
            Colour::VERMILLION,
            Colour::GREEN,
            Colour::ORANGE,
            Colour::PURPLE,
            Colour::SKY,
            Colour::BLACK,
            Colour::GREY,
        ];
        const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];
        (SERIES[i % SERIES.len()], DASHES[i % DASHES.len()])
    }
}

pub const INK: &str = "#222222";
pub const FAINT: &str = "#666666";
pub const GRID: &str = "#dddddd";

/// Which end of a text its place is.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Room that a text takes; generous, as browsers may use a wider font than ours.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.57
}

pub struct Canvas {
    document: Document,
}

impl Canvas {
    /// A white sheet.
    pub fn new(width: f64, height: f64) -> Canvas {
        let document = Document::new()
            .set("viewBox", (0, 0, width.round() as i64, height.round() as i64))
            .set("width", width.round())
            .set("height", height.round())
            .set("font-family", FAMILIES);
        let mut canvas = Canvas { document };
        canvas.rect(0.0, 0.0, width, height, "#ffffff");
        canvas
    }

    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.add(box_at(x, y, width, height).set("fill", fill));
    }

    /// Only its border.
    pub fn frame(&mut self, x: f64, y: f64, width: f64, height: f64, stroke: &str, thick: f64) {
        let frame = box_at(x, y, width, height).set("fill", "none");
        self.add(frame.set("stroke", stroke).set("stroke-width", thick));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, thick: f64) {
        let line = Line::new()
            .set("x1", tenth(from.0))
            .set("y1", tenth(from.1))
            .set("x2", tenth(to.0))
            .set("y2", tenth(to.1));
        self.add(line.set("stroke", stroke).set("stroke-width", thick));
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], stroke: &str, dashes: &str) {
        let Some((&first, rest)) = points.split_first() else { return };
        let start = Data::new().move_to((tenth(first.0), tenth(first.1)));
        let data = rest.iter().fold(start, |data, p| data.line_to((tenth(p.0), tenth(p.1))));
        let path = Path::new().set("d", data).set("fill", "none").set("stroke", stroke);
        let path = path.set("stroke-width", 1.8).set("stroke-linejoin", "round");
        self.add(if dashes.is_empty() { path } else { path.set("stroke-dasharray", dashes) });
    }

    pub fn dot(&mut self, at: (f64, f64), radius: f64, fill: &str) {
        let dot = Circle::new().set("cx", tenth(at.0)).set("cy", tenth(at.1));
        self.add(dot.set("r", radius).set("fill", fill));
    }

    /// Text that begins at x, its feet at y.
    pub fn text(&mut self, x: f64, y: f64, size: f64, text: &str) {
        self.label(x, y, size, Anchor::Start, INK, text);
    }

    pub fn label(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, fill: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = Text::new(text).set("x", tenth(x)).set("y", tenth(y)).set("font-size", size);
        self.add(text.set("text-anchor", anchor).set("fill", fill));
    }

    /// Text that runs upwards, its middle at this place.
    pub fn upright(&mut self, x: f64, y: f64, size: f64, text: &str) {
        let (x, y) = (tenth(x), tenth(y));
        let text = Text::new(text).set("x", x).set("y", y).set("font-size", size);
        let text = text.set("text-anchor", "middle").set("fill", FAINT);
        self.add(text.set("transform", format!("rotate(-90 {x} {y})")));
    }

    /// Which colour is whose, in one line from x on.
    pub fn legend(&mut self, mut x: f64, y: f64, entries: &[(&str, Colour, &str)]) {
        for (name, colour, dashes) in entries {
            self.polyline(&[(x, y - 4.0), (x + 26.0, y - 4.0)], colour.0, dashes);
            self.dot((x + 13.0, y - 4.0), 2.6, colour.0);
            self.text(x + 32.0, y, 12.0, name);
            x += 32.0 + text_width(name, 12.0) + 18.0;
        }
    }

    /// The same for areas.
    pub fn swatches(&mut self, mut x: f64, y: f64, entries: &[(String, Colour)]) {
        for (name, colour) in entries {
            self.rect(x, y - 10.0, 12.0, 12.0, colour.0);
            self.text(x + 18.0, y, 12.0, name);
            x += 18.0 + text_width(name, 12.0) + 18.0;
        }
    }

    pub fn finish(self) -> String {
        format!("{}\n", self.document)
    }

    fn add<T: Node>(&mut self, node: T) {
        self.document.append(node);
    }
}

fn box_at(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new()
        .set("x", tenth(x))
        .set("y", tenth(y))
        .set("width", tenth(width))
        .set("height", tenth(height))
}

/// A tenth of a unit is finer than anyone sees, and keeps the files small.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_drawing() {
        let mut canvas = Canvas::new(100.0, 50.0);
        canvas.text(1.0, 2.0, 10.0, "a < b & \"c\"");
        let svg = canvas.finish();
        assert!(svg.contains("a &lt; b &amp; "), "{svg}");
        super::super::to_png(&svg).unwrap();
    }
}
