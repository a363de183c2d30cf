//! What was decoded against what a manifest says.

/// Seconds that are always forgiven: manifests round, and a frame or a codec's delay may be counted or not.
const ALWAYS_FORGIVEN_SECS: f64 = 0.05;

/// Seconds that are forgiven at most.
const MAX_FORGIVEN_SECS: f64 = 0.1;

/// A recording that is longer or shorter than declared.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{decoded_secs:.3} s decoded, {declared_secs:.3} s declared: the audio or the manifest is wrong; fetch both again or leave it out"
)]
pub struct DurationMismatch {
    /// Seconds that the manifest gives.
    pub declared_secs: f64,
    /// Seconds that decoded.
    pub decoded_secs: f64,
}

impl DurationMismatch {
    /// Short key under which recordings with this error are counted.
    pub fn reason(&self) -> &'static str {
        "duration"
    }
}

/// Refuses a recording whose decoded length is off by more than 100 ms, or more than 2 % if that is less, but never for
/// less than 50 ms, nor for being longer by up to `untold_secs`.
///
/// The latter are what an encoder may have added without saying so ([`Blocks::untold_secs`](crate::Blocks::untold_secs)):
/// without it every short MP3 written to a pipe would be refused. It excuses no recording that is shorter. Each format's own checks do not replace this one: decoders have been seen to turn valid MP3 of variable bit rate into
/// silence, or to stop early, without an error. A declared duration that is not a finite positive number is a mismatch.
pub fn check_duration(
    declared_secs: f64,
    decoded_secs: f64,
    untold_secs: f64,
) -> Result<(), DurationMismatch> {
    let missing = (0.02 * declared_secs).clamp(ALWAYS_FORGIVEN_SECS, MAX_FORGIVEN_SECS);
    let added = missing.max(untold_secs).min(MAX_FORGIVEN_SECS);
    let plausible = declared_secs.is_finite() && declared_secs > 0.0;
    if plausible && (-missing..=added).contains(&(decoded_secs - declared_secs)) {
        return Ok(());
    }
    Err(DurationMismatch {
        declared_secs,
        decoded_secs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_and_100_ms_bound_the_difference_but_50_ms_are_forgiven() {
        for (declared, decoded) in [
            (1.0, 1.049),
            (1.0, 0.951),
            (4.0, 4.079),
            (60.0, 59.901),
            (0.01, 0.06),
        ] {
            assert_eq!(
                check_duration(declared, decoded, 0.0),
                Ok(()),
                "{declared} {decoded}"
            );
        }
        for (declared, decoded) in [
            (1.0, 1.051),
            (1.0, 0.949),
            (4.0, 4.081),
            (60.0, 59.899),
            (3_600.0, 3_599.0),
            (0.0, 0.0),
            (-1.0, -1.0),
            (f64::NAN, 1.0),
            (1.0, f64::NAN),
            (f64::INFINITY, f64::INFINITY),
        ] {
            let error = check_duration(declared, decoded, 0.0).unwrap_err();
            assert_eq!(error.reason(), "duration", "{declared} {decoded}");
        }
        let text = check_duration(10.0, 2.5, 0.0).unwrap_err().to_string();
        assert!(
            text.contains("2.500 s decoded, 10.000 s declared"),
            "{text}"
        );
    }

    #[test]
    fn what_an_encoder_adds_untold_excuses_longer_recordings_only() {
        let is_refused = |decoded, untold| check_duration(1.0, decoded, untold).is_err();
        assert!(!is_refused(1.069, 0.07));
        assert!(is_refused(1.071, 0.07));
        assert!(!is_refused(1.049, 0.01));
        // the limit of 100 ms holds whatever the encoder
        assert!(is_refused(1.101, 0.2));
        // a decoder that stops early is still seen
        assert!(is_refused(0.949, 0.07));
        assert!(is_refused(f64::NAN, 0.07));
    }
}
