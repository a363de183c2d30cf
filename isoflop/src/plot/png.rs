//! SVG to PNG, with a font of our own, so that a picture is the same on every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

use super::PlotError;

/// Arimo (SIL Open Font License 1.1); `scripts/make_figure_font.py` makes it.
const FONT: &[u8] = include_bytes!("../../fonts/arimo.ttf");
const FAMILY: &str = "Arimo";
/// Pixels an inch: what journals ask of pictures with lines and text.
const PIXELS_PER_INCH: f32 = 600.0;
/// SVG counts 96 pixels an inch.
const SVG_PIXELS_PER_INCH: f32 = 96.0;

/// Renders a figure.
pub fn render(svg: &str) -> Result<Vec<u8>, PlotError> {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    let options = Options {
        fontdb: Arc::new(fonts),
        font_family: FAMILY.into(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(PlotError::drawing)?;
    let scale = PIXELS_PER_INCH / SVG_PIXELS_PER_INCH;
    let [width, height] =
        [tree.size().width(), tree.size().height()].map(|length| (length * scale).round() as u32);
    let mut picture =
        Pixmap::new(width, height).ok_or_else(|| PlotError::drawing("a figure without size"))?;
    picture.fill(Color::WHITE);
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut picture.as_mut(),
    );
    picture.encode_png().map_err(PlotError::drawing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::canvas::{self, Anchor, power_of_ten};
    use resvg::tiny_skia::Pixmap;

    fn ink(text: &str) -> (u32, usize) {
        let svg = canvas::draw((72.0, 36.0), |canvas| {
            canvas.text(text, (36.0, 18.0), Anchor::Center)
        })
        .unwrap();
        let picture = Pixmap::decode_png(&render(&svg).unwrap()).unwrap();
        let dark = picture
            .pixels()
            .iter()
            .filter(|pixel| pixel.red() < 128)
            .count();
        (picture.width(), dark)
    }

    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let (width, nothing) = ink(" ");
        assert_eq!((width, nothing), (600, 0));
        // a letter at 7.5 points and 600 pixels an inch
        let (_, letter) = ink("N");
        assert!((300..3_000).contains(&letter), "{letter}");
        // the exponent is there too, and smaller
        let ten = ink("10").1;
        let power = ink(&power_of_ten(10)).1;
        assert!(
            power > ten * 12 / 10 && power < ten * 19 / 10,
            "{ten} {power}"
        );
    }

    #[test]
    fn every_character_of_figures_is_in_the_font() {
        for character in "Nα×−~*%".chars() {
            assert!(ink(&character.to_string()).1 > 50, "{character}");
        }
    }
}
