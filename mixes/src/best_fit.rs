//! Packing whole documents: best-fit decreasing.

use std::collections::BTreeSet;
use std::ops::Range;

/// Puts items into bins of `capacity`, the longest first, each into the fullest bin that has room (best-fit decreasing, Johnson
/// 1974: at most 11/9 of the best possible number of bins, and one). Items longer than a bin are left out.
///
/// Returns the items bin by bin, and the range of each bin among them. Among items of equal length the order of `items` decides
/// who goes where; the number of bins depends on the lengths alone.
pub(crate) fn best_fit(
    items: &[usize],
    length: impl Fn(usize) -> u64,
    capacity: u64,
) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut fitting: Vec<usize> = items
        .iter()
        .copied()
        .filter(|&item| length(item) <= capacity)
        .collect();
    // stable, so that equal lengths keep their order
    fitting.sort_by_key(|&item| std::cmp::Reverse(length(item)));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut room: BTreeSet<(u64, usize)> = BTreeSet::new();
    for item in fitting {
        let needed = length(item);
        let found = room.range((needed, 0)..).next().copied();
        let (left, bin) = found.unwrap_or_else(|| {
            bins.push(Vec::new());
            (capacity, bins.len() - 1)
        });
        room.remove(&(left, bin));
        bins[bin].push(item);
        room.insert((left - needed, bin));
    }
    let mut ranges = Vec::with_capacity(bins.len());
    let mut packed = Vec::with_capacity(items.len());
    for bin in bins {
        ranges.push(packed.len()..packed.len() + bin.len());
        packed.extend(bin);
    }
    (packed, ranges)
}

/// Number of bins that [`best_fit`] makes of items of these lengths.
pub(crate) fn bins(lengths: &[u64], capacity: u64) -> usize {
    let items: Vec<usize> = (0..lengths.len()).collect();
    best_fit(&items, |item| lengths[item], capacity).1.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_item_that_fits_is_in_one_bin_and_no_bin_overflows(lengths in vec(1u64..40, 0..60), capacity in 10u64..30) {
            let items: Vec<usize> = (0..lengths.len()).rev().collect();
            let (packed, ranges) = best_fit(&items, |item| lengths[item], capacity);
            let mut seen = packed.clone();
            seen.sort_unstable();
            let fits: Vec<usize> = (0..lengths.len()).filter(|&item| lengths[item] <= capacity).collect();
            prop_assert_eq!(seen, fits);
            let mut end = 0;
            let mut loads = Vec::new();
            for range in ranges {
                prop_assert_eq!(range.start, end);
                end = range.end;
                loads.push(packed[range].iter().map(|&item| lengths[item]).sum::<u64>());
            }
            prop_assert_eq!(end, packed.len());
            prop_assert!(loads.iter().all(|&load| 0 < load && load <= capacity));
            // any two bins together overflow one, else the later would not have been opened
            loads.sort_unstable();
            prop_assert!(loads.len() < 2 || loads[0] + loads[1] > capacity);
            prop_assert_eq!(bins(&lengths, capacity), loads.len());
        }
    }

    #[test]
    fn the_fullest_bin_with_room_is_taken() {
        let lengths = [6, 5, 4, 3, 2];
        let (packed, ranges) = best_fit(&[0, 1, 2, 3, 4], |item| lengths[item], 10);
        // 6+4 fills a bin, 5+3+2 the other
        assert_eq!((packed, ranges), (vec![0, 2, 1, 3, 4], vec![0..2, 2..5]));
    }
}
