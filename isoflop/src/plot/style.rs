//! How budgets are told apart: by colour, and without it by the shape of markers.

use plotters::style::RGBColor;

use super::PlotError;
use super::canvas::{Anchor, Canvas, Place, TEXT, raised};
use super::panel::cross;
use crate::fit::Fit;

/// Viridis (van der Walt & Smith 2015) at ten even steps, without the yellow that is pale on white: even steps of lightness,
/// in order for every kind of colour vision and in grey.
const VIRIDIS: [(u8, u8, u8); 9] = [
    (0x44, 0x01, 0x54),
    (0x48, 0x28, 0x78),
    (0x3e, 0x49, 0x89),
    (0x31, 0x68, 0x8e),
    (0x26, 0x82, 0x8e),
    (0x1f, 0x9e, 0x89),
    (0x35, 0xb7, 0x79),
    (0x6e, 0xce, 0x58),
    (0xb5, 0xde, 0x2b),
];
/// Part of it that is used; the end is too pale for thin lines.
const DARK_ENOUGH: f64 = 0.88;
/// Corners of the shapes of markers and the angle of the first, in degrees; 0 corners are a circle.
const SHAPES: [(usize, f64); 6] = [
    (0, 0.0),
    (4, 45.0),
    (3, -90.0),
    (4, 0.0),
    (3, 90.0),
    (5, -90.0),
];
/// Radius of a marker, in points.
const RADIUS: f64 = 2.3;
/// Width of an entry of a legend, in points, and height of a line.
const ENTRY: f64 = 50.0;
const LINE: f64 = 11.0;

/// The mark of a budget's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// Its colour.
    pub colour: RGBColor,
    shape: (usize, f64),
}

impl Marker {
    /// The mark of budget `number` of `count`.
    pub fn of(number: usize, count: usize) -> Self {
        let share = number as f64 / (count.max(2) - 1) as f64 * DARK_ENOUGH;
        Self {
            colour: viridis(share),
            shape: SHAPES[number % SHAPES.len()],
        }
    }

    /// Draws it at a place.
    pub fn draw(&self, canvas: &Canvas, (x, y): Place) -> Result<(), PlotError> {
        let (corners, first) = self.shape;
        if corners == 0 {
            return canvas.circle((x, y), RADIUS, self.colour);
        }
        // shapes of fewer corners are larger, so that all look alike in size
        let radius = RADIUS * if corners == 3 { 1.35 } else { 1.2 };
        let corner = |number: usize| {
            let angle = (first + 360.0 * number as f64 / corners as f64).to_radians();
            (x + radius * angle.cos(), y + radius * angle.sin())
        };
        let corners: Vec<Place> = (0..corners).map(corner).collect();
        canvas.polygon(&corners, self.colour, 1.0)
    }
}

fn viridis(share: f64) -> RGBColor {
    let place = share * (VIRIDIS.len() - 1) as f64;
    let (low, high) = (
        VIRIDIS[place.floor() as usize],
        VIRIDIS[place.ceil() as usize],
    );
    let mix = |low: u8, high: u8| {
        (f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract()).round() as u8
    };
    RGBColor(mix(low.0, high.0), mix(low.1, high.1), mix(low.2, high.2))
}

/// The markers of a fit's budgets, and what they are called.
pub struct Legend {
    title: String,
    entries: Vec<(f64, Marker)>,
}

impl Legend {
    /// The budgets of a fit, from the smallest.
    pub fn new(fit: &Fit) -> Self {
        let budgets = &fit.profiles.budgets;
        let entry = |(number, profile): (usize, &crate::fit::profile::Profile)| {
            (profile.budget, Marker::of(number, budgets.len()))
        };
        Self {
            title: format!("Budget ({})", fit.observations.budget_unit()),
            entries: budgets.iter().enumerate().map(entry).collect(),
        }
    }

    /// The marker of a budget.
    pub fn marker(&self, budget: f64) -> Marker {
        let entry = self.entries.iter().find(|(of, _)| *of == budget);
        entry.map_or(Marker::of(0, 1), |(_, marker)| *marker)
    }

    /// Height in a width, in points.
    pub fn height(&self, width: f64) -> f64 {
        let columns = (width / ENTRY) as usize;
        LINE * (1 + self.entries.len().div_ceil(columns)) as f64
    }

    /// Draws it from its upper left corner; with the mark of minima, if there are some to see.
    pub fn draw(
        &self,
        canvas: &Canvas,
        (left, top): Place,
        width: f64,
        minima: bool,
    ) -> Result<(), PlotError> {
        canvas.text(&self.title, (left, top + 0.5 * LINE), Anchor::Left)?;
        if minima {
            let at = (left + 106.0, top + 0.5 * LINE);
            cross(canvas, at)?;
            canvas.text("minimum, 95 % interval", (at.0 + 8.0, at.1), Anchor::Left)?;
        }
        let columns = (width / ENTRY) as usize;
        for (number, (budget, marker)) in self.entries.iter().enumerate() {
            let (row, column) = (number / columns, number % columns);
            let at = (
                left + 3.0 + ENTRY * column as f64,
                top + LINE * (row as f64 + 1.5),
            );
            marker.draw(canvas, at)?;
            canvas.text(&scientific(*budget), (at.0 + TEXT, at.1), Anchor::Left)?;
        }
        Ok(())
    }
}

/// A budget as a product with a power of ten.
fn scientific(budget: f64) -> String {
    let text = crate::fit::number::budget(budget);
    match text.split_once('e') {
        Some(("1", exponent)) => raised("10", exponent),
        Some((mantissa, exponent)) => raised(&format!("{mantissa}×10"), exponent),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::canvas::power_of_ten;

    #[test]
    fn neighbours_differ_in_colour_and_shape() {
        for count in 1..12 {
            for number in 1..count {
                let (one, next) = (Marker::of(number - 1, count), Marker::of(number, count));
                assert_ne!(one.colour, next.colour);
                assert_ne!(one.shape, next.shape);
            }
        }
    }

    #[test]
    fn budgets_are_powers_of_ten() {
        assert_eq!(scientific(1e18), power_of_ten(18));
        assert_eq!(scientific(6e18), format!("6×{}", power_of_ten(18)));
    }
}
