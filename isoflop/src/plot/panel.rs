//! A frame with two axes, and curves and markers in it.

use plotters::style::RGBColor;

use super::PlotError;
use super::axis::{Axis, Notation, Tick};
use super::canvas::{Anchor, BLACK, Canvas, GREY, Place, TEXT};
use super::style::Marker;
use crate::fit::bootstrap::Interval;

/// Length of marks at ticks, in points.
const TICK: f64 = 3.0;
/// Width of frames, in points.
const FRAME: f64 = 0.6;
/// Half the length of the lines that end bars, in points.
const CAP: f64 = 2.2;
/// Points that one tick's text takes beside others.
const TICK_WIDTH: f64 = 34.0;
const TICK_HEIGHT: f64 = 17.0;

/// A frame on a canvas.
pub struct Panel<'a, 'b> {
    canvas: &'a Canvas<'b>,
    /// Upper left and lower right corner, in points.
    frame: (Place, Place),
    x: Axis,
    y: Axis,
}

/// What is written beside the frame.
#[derive(Clone, Copy)]
pub struct Labels {
    /// How the values of a logarithmic x axis are written.
    pub x_notation: Notation,
    /// Whether values and label of the x axis are written.
    pub x: bool,
    /// Whether the label of the y axis is written.
    pub y: bool,
}

impl<'a, 'b> Panel<'a, 'b> {
    /// Draws the frame and its axes.
    pub fn new(
        canvas: &'a Canvas<'b>,
        frame: (Place, Place),
        [x, y]: [Axis; 2],
        labels: Labels,
    ) -> Result<Self, PlotError> {
        let panel = Self {
            canvas,
            frame,
            x,
            y,
        };
        let ((left, top), (right, bottom)) = frame;
        let x_ticks = panel
            .x
            .ticks(((right - left) / TICK_WIDTH) as usize, labels.x_notation);
        for tick in &x_ticks {
            let at = panel.x_at(tick.value);
            canvas.line(&[(at, bottom), (at, bottom + mark(tick))], BLACK, FRAME)?;
            if labels.x {
                canvas.text(&tick.text, (at, bottom + TICK + 0.8 * TEXT), Anchor::Center)?;
            }
        }
        for tick in panel
            .y
            .ticks(((bottom - top) / TICK_HEIGHT) as usize, Notation::Units)
        {
            let at = panel.y_at(tick.value);
            canvas.line(&[(left, at), (left - mark(&tick), at)], BLACK, FRAME)?;
            canvas.text(&tick.text, (left - TICK - 2.0, at), Anchor::Right)?;
        }
        let middle = (0.5 * (left + right), 0.5 * (top + bottom));
        if labels.x {
            canvas.text(
                &panel.x.label,
                (middle.0, bottom + TICK + 2.3 * TEXT),
                Anchor::Center,
            )?;
        }
        if labels.y {
            canvas.text(&panel.y.label, (left - 34.0, middle.1), Anchor::Upward)?;
        }
        canvas.line(
            &[(left, top), (left, bottom), (right, bottom)],
            BLACK,
            FRAME,
        )?;
        Ok(panel)
    }

    fn x_at(&self, value: f64) -> f64 {
        let ((left, _), (right, _)) = self.frame;
        left + (right - left) * self.x.share(value)
    }

    fn y_at(&self, value: f64) -> f64 {
        let ((_, top), (_, bottom)) = self.frame;
        bottom - (bottom - top) * self.y.share(value)
    }

    fn at(&self, (x, y): (f64, f64)) -> Place {
        (self.x_at(x), self.y_at(y))
    }

    fn places(&self, points: &[(f64, f64)]) -> Vec<Place> {
        points.iter().map(|point| self.at(*point)).collect()
    }

    /// A curve.
    pub fn curve(&self, points: &[(f64, f64)], colour: RGBColor) -> Result<(), PlotError> {
        self.canvas.line(&self.places(points), colour, 1.0)
    }

    /// A dashed curve.
    pub fn dashed(&self, points: &[(f64, f64)], colour: RGBColor) -> Result<(), PlotError> {
        self.canvas.dashes(&self.places(points), colour, 1.0)
    }

    /// What lies between the intervals at some x.
    pub fn band(&self, intervals: &[(f64, Interval)], colour: RGBColor) -> Result<(), PlotError> {
        let lower = intervals
            .iter()
            .map(|(x, interval)| self.at((*x, interval.low)));
        let upper = intervals
            .iter()
            .rev()
            .map(|(x, interval)| self.at((*x, interval.high)));
        let outline: Vec<Place> = lower.chain(upper).collect();
        self.canvas.polygon(&outline, colour, 0.25)
    }

    /// A marker at a point.
    pub fn marker(&self, marker: &Marker, point: (f64, f64)) -> Result<(), PlotError> {
        marker.draw(self.canvas, self.at(point))
    }

    /// A horizontal line at a value.
    pub fn level(&self, y: f64) -> Result<(), PlotError> {
        let ((left, _), (right, _)) = self.frame;
        let at = self.y_at(y);
        self.canvas.line(&[(left, at), (right, at)], GREY, FRAME)
    }

    /// A bar over an interval of x, as far as it is in the frame.
    pub fn bar_x(&self, interval: Interval, y: f64) -> Result<(), PlotError> {
        let ((left, _), (right, _)) = self.frame;
        let at = self.y_at(y);
        let [from, to] =
            [interval.low, interval.high].map(|x| (self.x_at(x).clamp(left, right), at));
        self.canvas.line(&[from, to], BLACK, 0.8)?;
        // an end that is outside of the frame has no cap
        for value in [interval.low, interval.high] {
            let x = self.x_at(value);
            if (left..=right).contains(&x) {
                self.canvas
                    .line(&[(x, at - CAP), (x, at + CAP)], BLACK, 0.8)?;
            }
        }
        Ok(())
    }

    /// A bar over an interval of y, as far as it is in the frame.
    pub fn bar_y(&self, x: f64, interval: Interval, colour: RGBColor) -> Result<(), PlotError> {
        let ((_, top), (_, bottom)) = self.frame;
        let at = self.x_at(x);
        let [from, to] =
            [interval.low, interval.high].map(|y| (at, self.y_at(y).clamp(top, bottom)));
        self.canvas.line(&[from, to], colour, 0.8)
    }

    /// A cross: an estimated minimum.
    pub fn cross(&self, point: (f64, f64)) -> Result<(), PlotError> {
        cross(self.canvas, self.at(point))
    }
}

/// A cross at a place, in points.
pub fn cross(canvas: &Canvas, (x, y): Place) -> Result<(), PlotError> {
    const ARM: f64 = 2.0;
    canvas.line(&[(x - ARM, y - ARM), (x + ARM, y + ARM)], BLACK, 0.9)?;
    canvas.line(&[(x - ARM, y + ARM), (x + ARM, y - ARM)], BLACK, 0.9)
}

/// Marks without text are small.
fn mark(tick: &Tick) -> f64 {
    if tick.text.is_empty() {
        0.6 * TICK
    } else {
        TICK
    }
}
