//! A small cache of expensive values that threads share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

/// Keeps the most recently used values. A value is made once, outside the lock of the cache: others who want it wait, others who
/// want another do not.
pub(crate) struct Cache<K, V> {
    capacity: usize,
    /// Most recently used last.
    slots: Mutex<Vec<(K, Slot<V>)>>,
}

impl<K: PartialEq + Copy, V> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            slots: Mutex::new(Vec::new()),
        }
    }

    /// The value of `key`, made by `make` if it is not held. A failure is not kept.
    pub(crate) fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let slot = self.slot(key);
        let mut value = lock(&slot);
        if value.is_none() {
            *value = Some(Arc::new(make()?));
        }
        Ok(value.clone().expect("made just now"))
    }

    fn slot(&self, key: K) -> Slot<V> {
        let mut slots = lock(&self.slots);
        let entry = match slots.iter().position(|(known, _)| *known == key) {
            Some(at) => slots.remove(at),
            None => {
                if slots.len() == self.capacity {
                    slots.remove(0);
                }
                (key, Slot::default())
            }
        };
        let slot = entry.1.clone();
        slots.push(entry);
        slot
    }
}

/// A panic while a value was made leaves its slot empty, which is a valid state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_values_are_kept_and_failures_are_not() {
        let cache = Cache::new(2);
        let made = Mutex::new(Vec::new());
        let get = |key: u32| {
            let make = || {
                made.lock().unwrap().push(key);
                if key == 9 { Err("nine") } else { Ok(key * 10) }
            };
            cache.get(key, make).map(|value| *value)
        };
        for key in [1, 2, 1, 3, 1, 2] {
            assert_eq!(get(key), Ok(key * 10));
        }
        assert_eq!(*made.lock().unwrap(), [1, 2, 3, 2]);
        assert_eq!((get(9), get(9)), (Err("nine"), Err("nine")));
        assert_eq!(made.lock().unwrap()[4..], [9, 9]);
    }
}
