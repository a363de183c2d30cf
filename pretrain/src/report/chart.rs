//! Drawing one chart as SVG.

use super::ReportError;
use super::format::{escape, tick};
use super::palette::{Colour, GREY};
use super::series::{Points, quantile, thin};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;

/// The SVG backend rounds to whole units, so a page pixel is four of them: lines stay smooth when enlarged.
const UNITS: i32 = 4;
/// Plotters shrinks font sizes by this factor before it writes them.
const FONT_SHRINK: f64 = 1.24;
/// Size of all text, in page pixels.
const TEXT: i32 = 13;
/// More points of one curve than this are not told apart at the sizes drawn.
const POINTS: usize = 700;
/// A validation curve with fewer points than this shows each as a dot.
const DOTTED_BELOW: usize = 40;

/// One curve.
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    pub points: Points,
    pub colour: Colour,
    pub style: Style,
}

/// How a curve is drawn.
#[derive(Clone, Copy, PartialEq)]
pub enum Style {
    /// A strong line.
    Solid,
    /// A strong line with a dot at each point, as long as there are few.
    Dotted,
    /// A thin, pale line behind the others.
    Faint,
    /// A dashed line.
    Dashed,
    /// All between the line and zero.
    Area,
}

/// A chart of values against steps.
pub struct Chart {
    pub title: String,
    /// What the vertical axis shows, with its unit.
    pub y_label: &'static str,
    pub lines: Vec<Line>,
    /// Where the horizontal axis begins.
    pub first_step: u64,
    /// Whether the vertical axis begins at zero rather than just below the lowest value.
    pub from_zero: bool,
    /// Width and height in page pixels.
    pub size: (i32, i32),
}

impl Chart {
    /// The chart as an `<svg>` element that scales to the width it is given.
    pub fn draw(&self) -> Result<String, ReportError> {
        let (width, height) = (self.size.0 * UNITS, self.size.1 * UNITS);
        let mut svg = String::new();
        self.draw_into(&mut svg, (width as u32, height as u32))
            .map_err(|error| ReportError::Figure {
                title: self.title.clone(),
                message: error.to_string(),
            })?;
        let fixed = format!("<svg width=\"{width}\" height=\"{height}\" ");
        let scaling = format!("<svg role=\"img\" aria-label=\"{}\" ", escape(&self.title));
        Ok(svg.replacen(&fixed, &scaling, 1))
    }

    fn draw_into(&self, svg: &mut String, size: (u32, u32)) -> Result<(), Box<dyn Error>> {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        let (x, y) = (self.x_range(), self.y_range());
        let text = ("sans-serif", f64::from(TEXT * UNITS) * FONT_SHRINK)
            .into_font()
            .color(&colour(GREY));
        root.draw(&Text::new(
            self.y_label,
            (4 * UNITS, 2 * UNITS),
            text.clone(),
        ))?;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(26 * UNITS)
            .margin_right(16 * UNITS)
            .x_label_area_size(40 * UNITS)
            .y_label_area_size(48 * UNITS)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(colour(GREY).mix(0.22).stroke_width(UNITS as u32))
            .axis_style(colour(GREY).mix(0.6).stroke_width(UNITS as u32))
            .set_all_tick_mark_size(4 * UNITS)
            .x_labels(if self.size.0 > 400 { 7 } else { 5 })
            .y_labels(6)
            .x_label_formatter(&|value| tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .x_desc("step")
            .label_style(text.clone())
            .axis_desc_style(text)
            .draw()?;
        for line in &self.lines {
            let clamp = |&(step, value): &(f64, f64)| (step, value.clamp(y.start, y.end));
            let inside: Points = thin(&line.points, POINTS).iter().map(clamp).collect();
            let strong = colour(line.colour).stroke_width(2 * UNITS as u32);
            match line.style {
                Style::Dashed => {
                    let dashes = DashedLineSeries::new(inside, 6 * UNITS, 4 * UNITS, strong);
                    chart.draw_series(dashes)?;
                }
                Style::Area => {
                    chart.draw_series(area(&inside, colour(line.colour)))?;
                }
                Style::Faint => {
                    let pale = colour(line.colour).mix(0.35).stroke_width(UNITS as u32);
                    chart.draw_series(LineSeries::new(inside, pale))?;
                }
                Style::Solid | Style::Dotted => {
                    let few = line.style == Style::Dotted && inside.len() < DOTTED_BELOW;
                    let dot = if few { 3 * UNITS as u32 } else { 0 };
                    let series = LineSeries::new(inside, strong.filled()).point_size(dot);
                    chart.draw_series(series)?;
                }
            }
        }
        root.present()?;
        Ok(())
    }

    /// To the last step drawn.
    fn x_range(&self) -> Range<f64> {
        let steps = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.0));
        let first = self.first_step as f64;
        first..steps.fold(first + 1.0, f64::max)
    }

    /// All values, but for rare spikes far above the rest: those end at the upper edge.
    fn y_range(&self) -> Range<f64> {
        let values: Vec<f64> = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1))
            .collect();
        if values.is_empty() {
            return 0.0..1.0;
        }
        let highest = values.iter().copied().fold(f64::MIN, f64::max);
        let lowest = values.iter().copied().fold(f64::MAX, f64::min);
        let bottom = if self.from_zero {
            lowest.min(0.0)
        } else {
            lowest
        };
        let usual = quantile(values, 0.99);
        let top = highest.min(bottom + 1.5 * (usual - bottom));
        let margin = if top > bottom {
            0.06 * (top - bottom)
        } else {
            top.abs().max(1.0) * 0.06
        };
        match self.from_zero {
            true => bottom..top + margin,
            false => bottom - margin..top + margin,
        }
    }
}

/// The outline of a curve and its shadow on the axis; nothing where there is no curve.
fn area(points: &[(f64, f64)], colour: RGBColor) -> Option<Polygon<(f64, f64)>> {
    let ((start, _), (end, _)) = (points.first()?, points.last()?);
    let mut outline = points.to_vec();
    outline.extend([(*end, 0.0), (*start, 0.0)]);
    Some(Polygon::new(outline, colour.filled()))
}

fn colour((red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], from_zero: bool) -> Chart {
        let points = values
            .iter()
            .enumerate()
            .map(|(step, &value)| (step as f64, value))
            .collect();
        let line = Line {
            name: "line".to_string(),
            points,
            colour: GREY,
            style: Style::Solid,
        };
        Chart {
            title: "Title".into(),
            y_label: "unit",
            lines: vec![line],
            first_step: 0,
            from_zero,
            size: (300, 200),
        }
    }

    #[test]
    fn a_lone_spike_does_not_flatten_the_rest() {
        let mut values = vec![1.0; 500];
        values[250] = 1000.0;
        assert!(chart(&values, true).y_range().end < 2.0);
        values[250] = 1.2;
        assert!(chart(&values, true).y_range().end > 1.2);
    }

    #[test]
    fn a_range_is_never_empty() {
        for (values, from_zero) in [
            (vec![], true),
            (vec![0.0; 3], true),
            (vec![2.0], false),
            (vec![-1.0], false),
        ] {
            let range = chart(&values, from_zero).y_range();
            assert!(range.start < range.end, "{values:?}: {range:?}");
            chart(&values, from_zero).draw().unwrap();
        }
    }

    #[test]
    fn the_drawing_scales_and_is_labelled() {
        let svg = chart(&[3.0, 2.0, 1.0], false).draw().unwrap();
        assert!(
            svg.starts_with("<svg role=\"img\" aria-label=\"Title\" viewBox=\"0 0 1200 800\""),
            "{}",
            &svg[..120]
        );
        for text in ["unit", "step"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}");
        }
    }
}
