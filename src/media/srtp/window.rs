//! Packet indices: which one a 16-bit number stands for, and which came before (RFC 3711 §3.3.1, §3.3.2).

/// The newest index of a source and which of the 128 up to it have come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    newest: Option<u64>,
    /// Bit n: `newest - n` has come.
    seen: u128,
}

impl Window {
    /// The index that is nearest to the newest one; without one, ROC 0.
    pub(super) fn guess(&self, seq: u16) -> u64 {
        let seq = u64::from(seq);
        let Some(newest) = self.newest else { return seq };
        let (roc, last) = (newest & !0xFFFF, newest & 0xFFFF);
        if last < HALF && seq > last + HALF {
            // Before the beginning there is nothing: then it is ahead.
            return roc.checked_sub(TURN).map_or(seq, |roc| roc | seq);
        }
        if last >= HALF && seq < last - HALF {
            return roc.saturating_add(TURN) | seq;
        }
        roc | seq
    }

    /// False for what came before, and for what is too old to tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        let Some(newest) = self.newest else { return true };
        match newest.checked_sub(index) {
            None => true,
            Some(age) => age < u64::from(u128::BITS) && self.seen >> age & 1 == 0,
        }
    }

    /// True for what is later than all before.
    pub(super) fn is_newest(&self, index: u64) -> bool {
        self.newest.is_none_or(|newest| index > newest)
    }

    /// Remembers an index that is new.
    pub(super) fn note(&mut self, index: u64) {
        let Some(newest) = self.newest else {
            *self = Self { newest: Some(index), seen: 1 };
            return;
        };
        match newest.checked_sub(index) {
            Some(age) if age < u64::from(u128::BITS) => self.seen |= 1 << age,
            Some(_) => {}
            None => {
                let step = index - newest;
                self.seen = if step < u64::from(u128::BITS) { self.seen << step | 1 } else { 1 };
                self.newest = Some(index);
            }
        }
    }
}

const TURN: u64 = 1 << 16;
const HALF: u64 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(newest: u64) -> Window {
        let mut window = Window::default();
        window.note(newest);
        window
    }

    #[test]
    fn a_number_means_the_nearest_index() {
        assert_eq!(Window::default().guess(65_535), 65_535);
        assert_eq!(at(65_535).guess(0), TURN);
        assert_eq!(at(TURN).guess(65_535), 65_535);
        assert_eq!(at(3 * TURN + 100).guess(65_000), 2 * TURN + 65_000);
        assert_eq!(at(3 * TURN + 65_000).guess(100), 4 * TURN + 100);
        assert_eq!(at(3 * TURN + 100).guess(200), 3 * TURN + 200);
        assert_eq!(at(5).guess(65_535), 65_535, "nothing lies before the beginning");
    }

    #[test]
    fn each_index_is_new_once_and_the_old_are_not() {
        let mut window = Window::default();
        for index in [1000, 1002, 1001, 1128] {
            assert!(window.is_new(index), "{index}");
            window.note(index);
            assert!(!window.is_new(index), "{index}");
        }
        assert!(window.is_new(1003), "within the window");
        assert!(!window.is_new(1000) && !window.is_new(999), "beyond it");
        window.note(5000);
        assert!(!window.is_new(1128) && window.is_new(4999) && window.is_newest(5001) && !window.is_newest(4999));
    }
}
