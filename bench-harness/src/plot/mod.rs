//! Plots as SVG, and the same as PNG on machines that have no font.

mod axis;
mod bars;
mod canvas;
mod map;
mod percentiles;
mod png;

pub use axis::{short, three_digits, time};
pub use bars::{Bar, BarGroup, BarPlot, BarSection};
pub use canvas::Colour;
pub use map::{Map, MapPanel};
pub use percentiles::{Curve, CurvePanel, CurvePlot};
pub use png::to_png;

use std::fs;
use std::io;
use std::path::Path;

/// Writes `NAME.svg` and `NAME.png` into the folder.
pub fn write(dir: &Path, name: &str, svg: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(format!("{name}.svg")), svg)?;
    fs::write(dir.join(format!("{name}.png")), to_png(svg)?)
}
