//! How long to wait before looking again: short after something happened, longer the longer nothing does.

use std::time::Duration;

use crate::runtime;

/// Waits that double from the shortest to the longest, each shortened by chance so that processes that began together
/// do not look together.
#[derive(Clone, Debug)]
pub struct Pace {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pace {
    /// Begins with the shortest wait.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, next: shortest }
    }

    /// Something happened: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.next = self.shortest;
    }

    /// How long to wait now: between three quarters of the wait and all of it.
    pub fn delay(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait.mul_f64(0.75 + f64::from(runtime::random()[0]) / 1024.0)
    }

    /// Waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_something_happened() {
        let mut pace = Pace::new(Duration::from_millis(25), Duration::from_millis(100));
        let within = |wait: Duration, most: u64| {
            let most = Duration::from_millis(most);
            assert!(most * 3 / 4 <= wait && wait <= most, "{wait:?} of {most:?}");
        };
        for most in [25, 50, 100, 100] {
            within(pace.delay(), most);
        }
        pace.reset();
        within(pace.delay(), 25);
    }
}
