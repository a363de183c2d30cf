//! Which part of a job a process does, when many share it.
//!
//! Workers share nothing but the output folder. Every worker plans the same units and takes its own, which are balanced by
//! size; so none needs to know of the others.

use std::fmt;
use std::str::FromStr;

/// One of several processes that do a job together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// All of them.
    pub count: usize,
}

/// Variables by which schedulers number the tasks of a job: index, first index, number of tasks.
const SCHEDULERS: [(&str, Option<&str>, &str); 3] = [
    (
        "SLURM_ARRAY_TASK_ID",
        Some("SLURM_ARRAY_TASK_MIN"),
        "SLURM_ARRAY_TASK_COUNT",
    ),
    ("SLURM_PROCID", None, "SLURM_NTASKS"),
    ("JOB_COMPLETION_INDEX", None, "JOB_COMPLETIONS"),
];

impl Worker {
    /// The only one.
    pub const ALONE: Worker = Worker { index: 0, count: 1 };

    /// What the scheduler says, if one is at work: a Slurm array, the tasks of a Slurm step, or a Kubernetes Indexed Job
    /// (which must be given `JOB_COMPLETIONS`, for Kubernetes sets the index only).
    ///
    /// # Errors
    /// A message, if the variables contradict one another.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        for (index, first, count) in SCHEDULERS {
            let (Some(at), total) = (get(index), get(count)) else {
                continue;
            };
            let Some(total) = total else {
                let missing = format!(
                    "{index} is set and {count} is not; set it, or give --worker INDEX/COUNT"
                );
                return Err(missing);
            };
            let number = |name: &str, text: &str| {
                let parsed = text.trim().parse::<usize>();
                parsed.map_err(|_| {
                    format!("{name} is {text:?}, not a number; give --worker INDEX/COUNT")
                })
            };
            let first = match first.and_then(|name| Some((name, get(name)?))) {
                Some((name, text)) => number(name, &text)?,
                None => 0,
            };
            let worker = Worker {
                index: number(index, &at)?.wrapping_sub(first),
                count: number(count, &total)?,
            };
            if worker.index >= worker.count {
                let advice = "number the tasks in steps of one, or give --worker INDEX/COUNT";
                return Err(format!(
                    "{index}={at} is not one of {count}={total} tasks; {advice}"
                ));
            }
            if worker.count > 1 {
                return Ok(Some(worker));
            }
        }
        Ok(None)
    }

    /// The units of this worker, of those with the given sizes, in order. Each next largest unit goes to the worker with
    /// the least so far.
    pub fn units(self, sizes: &[u64]) -> Vec<usize> {
        let mut by_size: Vec<usize> = (0..sizes.len()).collect();
        by_size.sort_by_key(|&unit| (std::cmp::Reverse(sizes[unit]), unit));
        let mut loads = vec![0u64; self.count];
        let mut own = Vec::new();
        for unit in by_size {
            let (least, load) = loads
                .iter_mut()
                .enumerate()
                .min_by_key(|(at, load)| (**load, *at))
                .expect("a worker");
            // a unit of no bytes is work too
            *load += sizes[unit].max(1);
            if least == self.index {
                own.push(unit);
            }
        }
        own.sort_unstable();
        own
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Worker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            Some(Worker {
                index: index.parse().ok()?,
                count: count.parse().ok()?,
            })
        });
        match parsed {
            Some(worker) if worker.index < worker.count => Ok(worker),
            _ => Err(
                "a worker is INDEX/COUNT with INDEX from 0 to COUNT - 1, such as 0/4".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Option<Worker>, String> {
        Worker::from_environment(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn schedulers_are_recognised() {
        let worker = |index, count| Ok(Some(Worker { index, count }));
        assert_eq!(environment(&[]), Ok(None));
        let array = [
            ("SLURM_ARRAY_TASK_ID", "5"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "8"),
        ];
        assert_eq!(environment(&array), worker(4, 8));
        assert_eq!(
            environment(&[("SLURM_PROCID", "3"), ("SLURM_NTASKS", "4")]),
            worker(3, 4)
        );
        assert_eq!(
            environment(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "2")]),
            worker(0, 2)
        );
        // every task of an array has a step of one task as well
        let both = [&array[..], &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]].concat();
        assert_eq!(environment(&both), worker(4, 8));
        assert_eq!(
            environment(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]),
            Ok(None)
        );
    }

    #[test]
    fn contradictions_are_told() {
        for (pairs, expected) in [
            (
                vec![("JOB_COMPLETION_INDEX", "1")],
                "JOB_COMPLETIONS is not",
            ),
            (
                vec![("SLURM_PROCID", "4"), ("SLURM_NTASKS", "4")],
                "not one of",
            ),
            (
                vec![("SLURM_PROCID", "x"), ("SLURM_NTASKS", "4")],
                "not a number",
            ),
        ] {
            let message = environment(&pairs).unwrap_err();
            assert!(
                message.contains(expected) && message.contains("--worker"),
                "{message}"
            );
        }
        for text in ["", "1", "4/4", "-1/4", "0/0", "a/b", "1/2/3"] {
            assert!(
                text.parse::<Worker>().unwrap_err().contains("0/4"),
                "{text}"
            );
        }
        assert_eq!("1/4".parse::<Worker>().unwrap().to_string(), "1/4");
    }

    #[test]
    fn every_unit_has_one_worker_and_loads_are_even() {
        let sizes: Vec<u64> = (0..97).map(|n| (n * 7919) % 1000).collect();
        for count in [1, 2, 5, 200] {
            let mut taken = vec![0; sizes.len()];
            let mut loads = Vec::new();
            for index in 0..count {
                let units = Worker { index, count }.units(&sizes);
                assert!(units.is_sorted());
                units.iter().for_each(|&unit| taken[unit] += 1);
                loads.push(units.iter().map(|&unit| sizes[unit]).sum::<u64>());
            }
            assert!(taken.iter().all(|&n| n == 1), "{taken:?}");
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            assert!(most - least <= 1000, "{loads:?}");
        }
    }
}
