//! Watching the session of another node.

use super::{ClockTime, SessionTimes};

/// What is known of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// Its record changes, or has not been watched for long enough.
    Alive,
    /// Its record has not changed for the time to live. This is it, to be fenced.
    Dead(Vec<u8>),
    /// It has no record.
    Absent,
}

/// A look-out for changes of one record.
#[derive(Debug)]
pub struct Watch {
    times: SessionTimes,
    window: Option<Window>,
}

/// The same value in every read.
#[derive(Debug)]
struct Window {
    value: Vec<u8>,
    /// When the first read that gave it was answered: the record had the value then at the
    /// latest, so that the holder sent it before.
    since: ClockTime,
    /// When the last read was answered.
    last: ClockTime,
}

impl Watch {
    /// Of a record that was not looked at yet.
    pub fn new(times: SessionTimes) -> Self {
        Self { times, window: None }
    }

    /// A read that was sent and answered at these times gave this value. Reads that fail are not
    /// told: they make a gap.
    pub fn saw(&mut self, sent: ClockTime, answered: ClockTime, value: Option<&[u8]>) -> Liveness {
        let Some(value) = value else {
            self.window = None;
            return Liveness::Absent;
        };
        let longest_gap = self.times.longest_gap();
        let goes_on = |window: &&mut Window| {
            window.value == value && sent.saturating_sub(window.last) <= longest_gap
        };
        let Some(window) = self.window.as_mut().filter(goes_on) else {
            self.window = Some(Window { value: value.to_vec(), since: answered, last: answered });
            return Liveness::Alive;
        };
        window.last = answered;
        // The value was there when the read was answered, and may have changed since it was sent:
        // what lies between counts for the holder.
        if sent.saturating_sub(window.since) >= self.times.time_to_live {
            return Liveness::Dead(value.to_vec());
        }
        Liveness::Alive
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> ClockTime {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_record_that_does_not_change_for_the_time_to_live_is_dead() {
        let mut watch = Watch::new(SessionTimes::default());
        for millis in (0..5000).step_by(1000) {
            assert_eq!(watch.saw(at(millis), at(millis + 10), Some(b"1")), Liveness::Alive);
        }
        assert_eq!(watch.saw(at(5000), at(5010), Some(b"1")), Liveness::Alive, "10 ms are missing");
        assert_eq!(watch.saw(at(5010), at(5020), Some(b"1")), Liveness::Dead(b"1".to_vec()));
        assert_eq!(watch.saw(at(5030), at(5040), Some(b"2")), Liveness::Alive);
        assert_eq!(watch.saw(at(5050), at(5060), None), Liveness::Absent);
        assert_eq!(watch.saw(at(5070), at(5080), Some(b"2")), Liveness::Alive, "from the start");
    }

    #[test]
    fn a_gap_in_looking_begins_the_wait_anew() {
        let mut watch = Watch::new(SessionTimes::default());
        assert_eq!(watch.saw(at(0), at(0), Some(b"1")), Liveness::Alive);
        // Nobody could renew while the store was away.
        assert_eq!(watch.saw(at(6000), at(6000), Some(b"1")), Liveness::Alive);
        for millis in (7000..11_000).step_by(1000) {
            assert_eq!(watch.saw(at(millis), at(millis), Some(b"1")), Liveness::Alive);
        }
        assert_eq!(watch.saw(at(11_000), at(11_000), Some(b"1")), Liveness::Dead(b"1".to_vec()));
    }
}
