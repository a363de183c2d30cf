//! How long a run takes on given hardware, and what that costs.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::device::{DEVICES, Device};
use crate::error::suggestion;
use crate::flops::Flops;
use crate::summary::{grouped, lines};
use crate::{Error, Result};

/// Devices of one kind: `h100x8`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hardware {
    /// Which device.
    pub device: &'static str,
    /// How many.
    pub count: u64,
    /// Peak of each in bf16, FLOP/s.
    pub peak_flops: f64,
}

impl FromStr for Hardware {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self> {
        let fail = |reason: String| Error::Hardware {
            given: given.into(),
            reason,
        };
        let lower = given.to_lowercase();
        // names have an x of their own: mi300x, rtx4090
        let (name, count) = match lower.rsplit_once('x') {
            Some((name, count)) if !count.is_empty() && Device::named(&lower).is_none() => {
                (name, count)
            }
            _ => (lower.as_str(), "1"),
        };
        let count = count.parse().ok().filter(|count| *count > 0);
        let count = count.ok_or_else(|| fail("it ends with no number of devices".into()))?;
        let device = Device::named(name).ok_or_else(|| {
            let known = DEVICES.map(|known| known.name);
            fail(format!("no device `{name}`, {}", suggestion(name, &known)))
        })?;
        Ok(Self {
            device: device.name,
            count,
            peak_flops: device.peak_flops,
        })
    }
}

impl Hardware {
    /// FLOP/s that one device does of training, at a utilisation `mfu` of its peak.
    ///
    /// # Errors
    /// [`Error::Hardware`] if `mfu` is not in (0, 1].
    pub(crate) fn used_flops(&self, mfu: f64) -> Result<f64> {
        match mfu > 0.0 && mfu <= 1.0 {
            true => Ok(self.peak_flops * mfu),
            false => Err(Error::Hardware {
                given: self.to_string(),
                reason: format!("an MFU of {mfu} is not in (0, 1]"),
            }),
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.device, self.count)
    }
}

/// Time and cost of a run. It prints as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// What it runs on.
    pub hardware: Hardware,
    /// Model FLOPs utilisation (PaLM, arXiv 2204.02311): the part of the peak that training FLOPs use.
    pub mfu: f64,
    /// Tokens a second.
    pub tokens_per_sec: f64,
    /// Hours from start to end, without validation, checkpoints and interruptions.
    pub hours: f64,
    /// Those of all devices.
    pub device_hours: f64,
    /// Price of all device hours, if that of one is given, in its currency.
    pub cost: Option<f64>,
}

impl Estimate {
    /// Of a run of `flops` and `tokens`, at a utilisation `mfu` and a price of an hour of a device.
    ///
    /// # Errors
    /// [`Error::Hardware`] if `mfu` is not in (0, 1].
    pub fn new(
        flops: &Flops,
        tokens: u64,
        hardware: Hardware,
        mfu: f64,
        price: Option<f64>,
    ) -> Result<Self> {
        let rate = hardware.used_flops(mfu)? * hardware.count as f64;
        let secs = flops.training / rate;
        let hours = secs / 3600.0;
        let device_hours = hours * hardware.count as f64;
        Ok(Self {
            hardware,
            mfu,
            tokens_per_sec: tokens as f64 / secs,
            hours,
            device_hours,
            cost: price.map(|price| price * device_hours),
        })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hardware, mfu) = (&self.hardware, 100.0 * self.mfu);
        let peak = hardware.peak_flops / 1e12;
        let mut rows = vec![
            (
                "hardware",
                format!("{hardware}, {peak} TFLOP/s each, MFU {mfu:.1} %"),
            ),
            (
                "speed",
                format!("{} tokens/s", grouped(self.tokens_per_sec as u64)),
            ),
            (
                "time",
                format!("{:.1} h, {:.1} days", self.hours, self.hours / 24.0),
            ),
            ("cost", format!("{:.1} device hours", self.device_hours)),
        ];
        if let (Some(cost), Some((_, text))) = (self.cost, rows.last_mut()) {
            *text += &format!(", {cost:.2}");
        }
        lines(f, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_is_a_device_and_how_many() {
        let parse = |given: &str| Hardware::from_str(given).map(|found| found.to_string());
        for (given, expected) in [
            ("h100x8", "h100x8"),
            ("H200x16", "h200x16"),
            ("a100", "a100x1"),
            ("rtx4090", "rtx4090x1"),
            ("rtx4090x2", "rtx4090x2"),
            ("mi300x", "mi300xx1"),
            ("mi300xx4", "mi300xx4"),
            ("h100-pciex2", "h100-pciex2"),
        ] {
            assert_eq!(parse(given).unwrap(), expected);
        }
        for (given, expected) in [
            ("h10x8", "no device `h10`, did you mean `h100`?"),
            ("tpu", "known: a100, h100"),
            ("h100x0", "no number"),
            ("h100xx", "no device"),
            ("", "write it as h100x8"),
        ] {
            let error = parse(given).unwrap_err().to_string();
            assert!(error.contains(expected), "{given}: {error}");
        }
    }

    #[test]
    fn time_is_training_flops_over_the_used_part_of_the_peak() {
        let flops = Flops {
            forward: 0.0,
            training: 312e12 * 7200.0,
            six_nd: 0.0,
        };
        let hardware: Hardware = "a100x4".parse().unwrap();
        let found = Estimate::new(&flops, 3_600_000, hardware.clone(), 0.5, Some(1.5)).unwrap();
        assert_eq!((found.hours, found.device_hours), (1.0, 4.0));
        assert_eq!((found.tokens_per_sec, found.cost), (1000.0, Some(6.0)));
        let printed = found.to_string();
        assert!(
            printed.contains("1,000 tokens/s") && printed.contains("4.0 device hours, 6.00"),
            "{printed}"
        );
        for mfu in [0.0, 1.1, f64::NAN] {
            assert!(Estimate::new(&flops, 1, hardware.clone(), mfu, None).is_err());
        }
    }
}
