//! An SVG drawing as pixels.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::io;

/// Pixels per unit of the drawing: sharp on dense screens, small in a repository.
const SCALE: f32 = 1.5;

/// A PNG file of the drawing, its text in the font that comes with us.
pub fn to_png(svg: &str) -> io::Result<Vec<u8>> {
    let mut options = Options { font_family: super::canvas::FONT.into(), ..Options::default() };
    options.fontdb_mut().load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    options.fontdb_mut().set_sans_serif_family(super::canvas::FONT);
    let tree = Tree::from_str(svg, &options).map_err(io::Error::other)?;
    let pixels = |units: f32| (units * SCALE).ceil() as u32;
    let mut image = Pixmap::new(pixels(tree.size().width()), pixels(tree.size().height()))
        .ok_or_else(|| io::Error::other("a drawing without size"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut image.as_mut());
    image.encode_png().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dark pixels of a drawing with this text in it.
    fn ink(text: &str) -> usize {
        let mut canvas = super::super::canvas::Canvas::new(200.0, 40.0);
        canvas.text(10.0, 25.0, 16.0, text);
        let png = to_png(&canvas.finish()).unwrap();
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
        // The first chunk is the header: width and height.
        assert_eq!(png[16..24], [0, 0, 1, 44, 0, 0, 0, 60]);
        let image = Pixmap::decode_png(&png).unwrap();
        image.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    #[test]
    fn text_is_drawn_without_a_font_of_the_system() {
        assert_eq!(ink(""), 0);
        assert!(ink("ringmq µs × ≥") > 100);
    }
}
