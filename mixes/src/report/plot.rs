//! The mixture over training as a picture: areas, one on another, as high as the shares of the components.

use super::number::{short, trimmed};
use super::unseeded;
use crate::error::{Error, Result};
use crate::loader::check_option;
use crate::mixture::{Component, Mixture};
use crate::schedule::Schedule;
use plotters::prelude::*;

/// The SVG backend rounds to whole units, so a pixel is four of them.
const UNITS: i32 = 4;
/// Plotters shrinks font sizes by this factor before it writes them.
const FONT_SHRINK: f64 = 1.24;
/// Size of all text, in pixels; on a phone, which shows the picture at half its size, it is still legible.
const TEXT: i32 = 17;
/// Width of the picture, in pixels.
const WIDTH: i32 = 680;
/// Height of all but the legend.
const CHART_HEIGHT: i32 = 390;
/// Height of a line of the legend.
const LINE_HEIGHT: i32 = 28;
/// Room above the legend.
const LEGEND_MARGIN: i32 = 10;
/// Longest label, in letters, of which two stand side by side.
const HALF_LINE: usize = 32;

/// Text and axes; as all colours here, it has contrast on white and on near-black.
const GREY: RGBColor = RGBColor(0x7b, 0x85, 0x92);
/// Colours of areas, such that neighbours are told apart.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0x2f, 0x80, 0xd8),
    RGBColor(0xd9, 0x73, 0x1a),
    RGBColor(0x23, 0x96, 0x55),
    RGBColor(0x8b, 0x63, 0xe8),
    RGBColor(0xe0, 0x45, 0x3a),
    RGBColor(0x12, 0x94, 0xa0),
    RGBColor(0xa8, 0x86, 0x0b),
    RGBColor(0xd0, 0x46, 0xa4),
    RGBColor(0x9a, 0x6a, 0x58),
    RGBColor(0x6b, 0x90, 0x1f),
    RGBColor(0x5b, 0x6f, 0xb5),
    RGBColor(0xb8, 0x5c, 0x7c),
];
/// The corpora of the paper's English mixes: each has its place among the colours, and so the same one in every picture.
const KNOWN: [&str; 9] = [
    "emilia-en",
    "emilia-yodas-en",
    "yodas2-en",
    "nemotron-hq_actual",
    "mls-en",
    "peoples-speech-clean",
    "commonvoice17-en",
    "librispeech-train",
    "libritts-train",
];

/// The shares of a mixture over its first `sequences` sequences of `seq_len` tokens, as SVG: areas one on another, the first
/// component's lowest, with a step wherever blocks begin to be divided otherwise.
///
/// # Errors
/// If the mixture cannot be scheduled.
pub fn stacked_area(mixture: &Mixture, seq_len: usize, sequences: u64) -> Result<String> {
    check_option("the number of sequences", sequences as usize, 1)?;
    let picture = Picture {
        mixture,
        schedule: unseeded(mixture, seq_len)?,
        tokens: (sequences * seq_len as u64) as f64,
        seq_len: seq_len as f64,
        sequences,
    };
    let mut svg = String::new();
    let (width, height) = (
        WIDTH,
        CHART_HEIGHT + LEGEND_MARGIN + picture.legend_lines() * LINE_HEIGHT,
    );
    picture
        .draw(&mut svg, (width * UNITS, height * UNITS))
        .map_err(|error| Error::Plot {
            mixture: mixture.name.clone(),
            problem: error.to_string(),
        })?;
    let drawn = format!(
        "<svg width=\"{}\" height=\"{}\" ",
        width * UNITS,
        height * UNITS
    );
    let shown = format!("<svg width=\"{width}\" height=\"{height}\" ");
    Ok(svg.replacen(&drawn, &shown, 1))
}

struct Picture<'a> {
    mixture: &'a Mixture,
    schedule: Schedule,
    tokens: f64,
    seq_len: f64,
    sequences: u64,
}

impl Picture<'_> {
    fn draw(&self, svg: &mut String, size: (i32, i32)) -> Result<(), Box<dyn std::error::Error>> {
        let size = (size.0 as u32, size.1 as u32);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        let (above, legend) = root.split_vertically(CHART_HEIGHT * UNITS);
        let text = text();
        let name = self.mixture.name.split('(').next().unwrap_or_default();
        let title = format!("{name}: share of sequences");
        above.draw(&Text::new(title, (6 * UNITS, 4 * UNITS), text.clone()))?;
        let mut chart = ChartBuilder::on(&above)
            .margin_top(36 * UNITS)
            .margin_right(30 * UNITS)
            .x_label_area_size(58 * UNITS)
            .y_label_area_size(62 * UNITS)
            .build_cartesian_2d(0.0..self.tokens, 0.0..1.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(GREY.stroke_width(UNITS as u32))
            .set_all_tick_mark_size(5 * UNITS)
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&|tokens| short(*tokens))
            .y_label_formatter(&|share| format!("{:.0} %", share * 100.0))
            .x_desc("tokens")
            .label_style(text.clone())
            .axis_desc_style(text)
            .draw()?;
        // each area covers those of the components below it, which are drawn over it
        let colours = colours(&self.mixture.components);
        for (component, colour) in colours.iter().enumerate().rev() {
            let area = Polygon::new(self.outline(component), colour.filled());
            chart.draw_series([area])?;
        }
        for (number, (label, colour)) in self.labels().into_iter().zip(colours).enumerate() {
            let (line, column) = (
                number as i32 / self.columns(),
                number as i32 % self.columns(),
            );
            let at = (
                12 * UNITS + column * WIDTH * UNITS / 2,
                (LEGEND_MARGIN + line * LINE_HEIGHT) * UNITS,
            );
            let end = (at.0 + TEXT * UNITS, at.1 + TEXT * UNITS);
            legend.draw(&Rectangle::new([at, end], colour.filled()))?;
            legend.draw(&Text::new(label, (end.0 + 8 * UNITS, at.1), self::text()))?;
        }
        root.present()?;
        Ok(())
    }

    /// The edge of the area below the upper boundary of a component.
    fn outline(&self, component: usize) -> Vec<(f64, f64)> {
        let block_size = self.mixture.block_size as f64;
        // plotters closes it
        let mut outline = vec![(0.0, 0.0)];
        for (first, counts) in self.steps() {
            let height = counts[..=component].iter().sum::<u64>() as f64 / block_size;
            let x = first as f64 * self.seq_len;
            let before = outline[outline.len() - 1].1;
            if before != height {
                outline.extend((first > 0).then_some((x, before)));
                outline.push((x, height));
            }
        }
        let last = outline[outline.len() - 1].1;
        outline.extend([(self.tokens, last), (self.tokens, 0.0)]);
        outline
    }

    /// Where blocks begin to be divided otherwise, as far as the picture goes.
    fn steps(&self) -> impl Iterator<Item = (u64, &[u64])> {
        let steps = self.schedule.stairs();
        steps.take_while(|(first, _)| *first < self.sequences)
    }

    /// Each component with its shares at the beginning and at the end.
    fn labels(&self) -> Vec<String> {
        let last = (self.sequences - 1) / self.mixture.block_size;
        let (begin, end) = (self.schedule.counts(0), self.schedule.counts(last));
        let share = |count: u64| trimmed(count as f64 / self.mixture.block_size as f64 * 100.0, 1);
        let label = |(number, component): (usize, &Component)| match begin[number] == end[number] {
            true => format!("{} {} %", component.name, share(begin[number])),
            false => format!(
                "{} {} → {} %",
                component.name,
                share(begin[number]),
                share(end[number])
            ),
        };
        self.mixture
            .components
            .iter()
            .enumerate()
            .map(label)
            .collect()
    }

    /// Columns of the legend.
    fn columns(&self) -> i32 {
        let longest = self
            .labels()
            .iter()
            .map(|label| label.chars().count())
            .max();
        if longest > Some(HALF_LINE) { 1 } else { 2 }
    }

    fn legend_lines(&self) -> i32 {
        (self.mixture.components.len() as i32 + self.columns() - 1) / self.columns()
    }
}

fn text() -> TextStyle<'static> {
    ("sans-serif", f64::from(TEXT * UNITS) * FONT_SHRINK)
        .into_font()
        .color(&GREY)
}

/// The colours of components: known ones have their own, others those that are left, in order; then colours start again.
fn colours(components: &[Component]) -> Vec<RGBColor> {
    let own = |component: &Component| KNOWN.iter().position(|known| *known == component.name);
    let taken: Vec<usize> = components.iter().filter_map(own).collect();
    let free: Vec<usize> = (0..COLOURS.len())
        .filter(|colour| !taken.contains(colour))
        .collect();
    let mut others = free.iter().cycle();
    let mut next = || others.next().copied().unwrap_or_default();
    let colour = |component: &Component| own(component).unwrap_or_else(&mut next);
    components
        .iter()
        .map(colour)
        .map(|number| COLOURS[number])
        .collect()
}
