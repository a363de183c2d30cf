//! Colours that read on white and on near-black alike, so that one figure serves light and dark mode.

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Training.
pub const BLUE: Colour = (0x2f, 0x80, 0xd8);
/// Validation.
pub const RED: Colour = (0xe0, 0x45, 0x3a);
/// Baselines and axes.
pub const GREY: Colour = (0x7b, 0x85, 0x92);
/// Marker tokens.
const BROWN: Colour = (0x9a, 0x6a, 0x58);
/// Quantities of the optimizer and the machine.
pub const VIOLET: Colour = (0x8b, 0x63, 0xe8);

/// Once round the hues, from orange to pink, without the blue of text and the red of semantic tokens.
const ACOUSTIC: [Colour; 7] = [
    (0xd9, 0x73, 0x1a),
    (0xa8, 0x86, 0x0b),
    (0x6b, 0x90, 0x1f),
    (0x23, 0x96, 0x55),
    (0x12, 0x94, 0xa0),
    VIOLET,
    (0xd0, 0x46, 0xa4),
];

/// Data, forward, backward, optimizer, checkpoint and other time of a step: neighbours differ in hue and lightness.
pub const STEP_PARTS: [Colour; 6] = [RED, BLUE, VIOLET, ACOUSTIC[4], ACOUSTIC[0], GREY];

/// The colour of a token kind; beyond seven acoustic codebooks the colours start again.
pub fn kind_colour(kind: &str) -> Colour {
    match kind {
        "text" => BLUE,
        "semantic" => RED,
        "marker" => BROWN,
        _ => match kind
            .strip_prefix("acoustic-")
            .and_then(|number| number.parse::<usize>().ok())
        {
            Some(number) => ACOUSTIC[number.saturating_sub(1) % ACOUSTIC.len()],
            None => GREY,
        },
    }
}

/// The colour of a part of which only the order is known, such as a component; beyond nine they start again.
pub fn part_colour(index: usize) -> Colour {
    match index % (2 + ACOUSTIC.len()) {
        0 => BLUE,
        1 => RED,
        other => ACOUSTIC[other - 2],
    }
}

/// As CSS writes it.
pub fn css((red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2 relative luminance.
    fn luminance((red, green, blue): Colour) -> f64 {
        let linear = |channel: u8| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn kinds() -> Vec<Colour> {
        let acoustic = (1..=7).map(|number| format!("acoustic-{number}"));
        let kinds = ["text", "marker", "semantic"]
            .into_iter()
            .map(String::from)
            .chain(acoustic);
        kinds.map(|kind| kind_colour(&kind)).collect()
    }

    #[test]
    fn every_colour_has_contrast_three_on_both_backgrounds() {
        let (light, dark) = (luminance((0xff, 0xff, 0xff)), luminance((0x17, 0x1a, 0x1f)));
        for colour in kinds() {
            let own = luminance(colour);
            assert!(
                (light + 0.05) / (own + 0.05) >= 3.0,
                "{} on white",
                css(colour)
            );
            assert!(
                (own + 0.05) / (dark + 0.05) >= 3.0,
                "{} on black",
                css(colour)
            );
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let colours = kinds();
        for (index, &(red, green, blue)) in colours.iter().enumerate() {
            for &other in &colours[..index] {
                let distance = red
                    .abs_diff(other.0)
                    .max(green.abs_diff(other.1))
                    .max(blue.abs_diff(other.2));
                assert!(
                    distance >= 40,
                    "{} and {}",
                    css((red, green, blue)),
                    css(other)
                );
            }
        }
    }
}
