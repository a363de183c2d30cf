//! Drawing in points of a printed page, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotError;

/// The SVG backend rounds to whole units, so a point is twenty of them.
const UNITS: f64 = 20.0;
/// Plotters shrinks font sizes by this factor before it writes them.
const FONT_SHRINK: f64 = 1.24;
/// The font that is embedded for PNG, and those of the same widths that others have.
const FONTS: &str = "Arimo, Arial, Helvetica, sans-serif";
/// Stands before what is raised, to the end of a text.
const RAISED: char = '\u{E000}';

/// Size of most text, in points; journals ask for 7 or more.
pub const TEXT: f64 = 7.5;
/// Width of a column and of a page with two, in points.
pub const COLUMN: f64 = 244.0;
pub const PAGE: f64 = 504.0;

pub const BLACK: RGBColor = RGBColor(0x1a, 0x1a, 0x1a);
pub const GREY: RGBColor = RGBColor(0x8c, 0x8c, 0x8c);
/// The vermilion of Okabe and Ito's palette: told apart from black and grey by everyone.
pub const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// A place on the page, in points from its upper left corner.
pub type Place = (f64, f64);

/// `10` raised to a power.
pub fn power_of_ten(exponent: i32) -> String {
    format!("10{RAISED}{}", exponent.to_string().replace('-', "−"))
}

/// A symbol raised to a power.
pub fn raised(base: &str, exponent: &str) -> String {
    format!("{base}{RAISED}{exponent}")
}

/// A page that is drawn on.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

/// How text lies at its place.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// It begins there, at half its height.
    Left,
    /// It ends there, at half its height.
    Right,
    /// Its middle is there.
    Center,
    /// Its middle is there, and it reads upward.
    Upward,
}

/// Draws on a page of a width and height in points; gives the SVG file.
pub fn draw(
    size: Place,
    paint: impl FnOnce(&Canvas) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let [width, height] = [size.0, size.1].map(|points| units(points) as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        area.fill(&WHITE).map_err(PlotError::drawing)?;
        let canvas = Canvas { area };
        paint(&canvas)?;
        canvas.area.present().map_err(PlotError::drawing)?;
    }
    let in_units = format!("<svg width=\"{width}\" height=\"{height}\"");
    let in_points = format!("<svg width=\"{}pt\" height=\"{}pt\"", size.0, size.1);
    Ok(raise(&svg.replacen(&in_units, &in_points, 1)))
}

/// Makes small raised text of what follows the mark; plotters writes each text on a line of its own.
fn raise(svg: &str) -> String {
    let line = |line: &str| match line.split_once(RAISED) {
        Some((base, raised)) => {
            format!("{base}<tspan dy=\"-0.5em\" font-size=\"70%\">{raised}</tspan>\n")
        }
        None => format!("{line}\n"),
    };
    svg.lines().map(line).collect()
}

fn units(points: f64) -> i32 {
    (points * UNITS).round() as i32
}

fn place((x, y): Place) -> (i32, i32) {
    (units(x), units(y))
}

fn stroke(colour: RGBColor, width: f64) -> ShapeStyle {
    colour.stroke_width(units(width) as u32)
}

impl Canvas<'_> {
    /// A line through places.
    pub fn line(&self, places: &[Place], colour: RGBColor, width: f64) -> Result<(), PlotError> {
        let path: Vec<_> = places.iter().copied().map(place).collect();
        self.area
            .draw(&PathElement::new(path, stroke(colour, width)))
            .map_err(PlotError::drawing)
    }

    /// A line of dashes as long as the gaps between them.
    pub fn dashes(&self, places: &[Place], colour: RGBColor, width: f64) -> Result<(), PlotError> {
        const DASH: f64 = 3.5;
        let mut travelled = 0.0;
        for pair in places.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            let mut from = 0.0;
            while from < length {
                let number = ((travelled + from) / DASH + 1e-9).floor();
                let to = ((number + 1.0) * DASH - travelled).min(length);
                let at = |along: f64| {
                    (
                        x0 + (x1 - x0) * along / length,
                        y0 + (y1 - y0) * along / length,
                    )
                };
                if number % 2.0 == 0.0 {
                    self.line(&[at(from), at(to)], colour, width)?;
                }
                from = to;
            }
            travelled += length;
        }
        Ok(())
    }

    /// A filled polygon.
    pub fn polygon(
        &self,
        corners: &[Place],
        colour: RGBColor,
        opacity: f64,
    ) -> Result<(), PlotError> {
        let corners: Vec<_> = corners.iter().copied().map(place).collect();
        self.area
            .draw(&Polygon::new(corners, colour.mix(opacity).filled()))
            .map_err(PlotError::drawing)
    }

    /// A filled circle.
    pub fn circle(&self, center: Place, radius: f64, colour: RGBColor) -> Result<(), PlotError> {
        self.area
            .draw(&Circle::new(place(center), units(radius), colour.filled()))
            .map_err(PlotError::drawing)
    }

    /// Black text.
    pub fn text(&self, text: &str, at: Place, anchor: Anchor) -> Result<(), PlotError> {
        let (horizontal, transform) = match anchor {
            Anchor::Left => (HPos::Left, FontTransform::None),
            Anchor::Right => (HPos::Right, FontTransform::None),
            Anchor::Center => (HPos::Center, FontTransform::None),
            Anchor::Upward => (HPos::Center, FontTransform::Rotate270),
        };
        // plotters centers small letters, and most of our text is digits and capitals
        let lower = 0.1 * TEXT;
        let at = match anchor {
            Anchor::Upward => (at.0 + lower, at.1),
            _ => (at.0, at.1 + lower),
        };
        let style = (FONTS, TEXT * UNITS * FONT_SHRINK)
            .into_font()
            .transform(transform)
            .color(&BLACK)
            .pos(Pos::new(horizontal, VPos::Center));
        self.area
            .draw(&Text::new(text, place(at), style))
            .map_err(PlotError::drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_size_in_points_and_its_raised_text() {
        let svg = draw((72.0, 36.0), |canvas| {
            canvas.text(&power_of_ten(-3), (10.0, 10.0), Anchor::Left)
        })
        .unwrap();
        assert!(
            svg.starts_with("<svg width=\"72pt\" height=\"36pt\" viewBox=\"0 0 1440 720\""),
            "{svg}"
        );
        assert!(
            svg.contains("\n10<tspan dy=\"-0.5em\" font-size=\"70%\">−3</tspan>\n"),
            "{svg}"
        );
    }

    #[test]
    fn dashes_go_on_around_corners() {
        let svg = draw((100.0, 100.0), |canvas| {
            canvas.dashes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 20.0)], BLACK, 1.0)
        });
        // 25 points: dashes begin at 0, 7, 14 and 21
        assert_eq!(svg.unwrap().matches("<polyline").count(), 4);
    }
}
