//! When a request is repeated.

use std::time::Duration;

use hvs_api::Code;

use crate::{ClientConfig, ClientError};

/// What a repetition of a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// The same as once: a read, a write under an idempotency key.
    Harmless,
    /// Something else, unless the first one was not carried out.
    OnlyIfNotDone,
}

/// Where a request stands after a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Attempts made, at least 1.
    pub(crate) attempts: u32,
    /// Since the first one began.
    pub(crate) elapsed: Duration,
    /// Whether the node has ever answered this client.
    pub(crate) reached: bool,
}

/// How long to wait before the next attempt; nothing if there is none.
pub(crate) fn pause(
    config: &ClientConfig,
    repeat: Repeat,
    progress: Progress,
    error: &ClientError,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    if !may_repeat(repeat, error) {
        return None;
    }
    let no_answer = matches!(error, ClientError::Connect { .. } | ClientError::Transport { .. });
    let never_there = no_answer && !progress.reached;
    let patience =
        if never_there { config.connect_patience.min(config.patience) } else { config.patience };
    let doubled =
        config.first_pause.saturating_mul(1 << progress.attempts.saturating_sub(1).min(20));
    let pause = match retry_after {
        Some(asked) => asked.max(config.first_pause),
        None => jittered(doubled.min(config.longest_pause)),
    };
    // A repetition that the time is too short for would only be late.
    (progress.elapsed.saturating_add(pause) < patience).then_some(pause)
}

fn may_repeat(repeat: Repeat, error: &ClientError) -> bool {
    let not_done = match error {
        // The request never left.
        ClientError::Connect { .. } => true,
        // Refused before any work; 504 is left out, for the time of the caller is over.
        ClientError::Problem(problem) => {
            problem.status == 503 && problem.known_code() != Some(Code::OutcomeUnknown)
        }
        _ => false,
    };
    let unclear = match error {
        ClientError::Transport { .. } | ClientError::TimedOut { .. } => true,
        ClientError::Problem(problem) => problem.status == 503,
        ClientError::UnexpectedStatus { status, .. } => matches!(status, 502..=504),
        _ => false,
    };
    not_done || (repeat == Repeat::Harmless && unclear)
}

/// Takes a random part of up to a half off.
fn jittered(pause: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(1.0 - part / 2.0)
}

#[cfg(test)]
mod tests {
    use hvs_api::Problem;

    use super::*;

    const REACHED: Progress = Progress { attempts: 1, elapsed: Duration::ZERO, reached: true };

    fn config() -> ClientConfig {
        ClientConfig::new("http://127.0.0.1:1")
    }

    fn connect() -> ClientError {
        ClientError::Connect { url: String::new(), reason: String::new() }
    }

    fn problem(code: Code) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(code, "")))
    }

    fn repeats(repeat: Repeat, error: &ClientError) -> bool {
        pause(&config(), repeat, REACHED, error, None).is_some()
    }

    #[test]
    fn only_what_was_not_done_is_repeated_when_twice_is_not_once() {
        let url = String::new();
        let reason = String::new();
        let broken = ClientError::Transport { url: url.clone(), reason };
        let late = ClientError::TimedOut { url, after: Duration::ZERO };
        for (error, harmless, not_done) in [
            (connect(), true, true),
            (broken, true, false),
            (late, true, false),
            (problem(Code::Overloaded), true, true),
            (problem(Code::OutcomeUnknown), true, false),
            (problem(Code::DeadlineExceeded), false, false),
            (problem(Code::InvalidK), false, false),
            (problem(Code::Internal), false, false),
        ] {
            assert_eq!(repeats(Repeat::Harmless, &error), harmless, "{error:?}");
            assert_eq!(repeats(Repeat::OnlyIfNotDone, &error), not_done, "{error:?}");
        }
    }

    #[test]
    fn pauses_double_within_their_bounds() {
        let error = problem(Code::Overloaded);
        for attempts in 1..60 {
            let progress = Progress { attempts, ..REACHED };
            let pause = pause(&config(), Repeat::Harmless, progress, &error, None).unwrap();
            let whole = Duration::from_millis(100)
                .saturating_mul(1 << (attempts - 1).min(20))
                .min(config().longest_pause);
            assert!(pause <= whole && pause >= whole / 2, "{attempts}: {pause:?}");
        }
    }

    /// Whether a request that so many seconds have gone into is repeated.
    fn goes_on(error: &ClientError, reached: bool, seconds: f64) -> bool {
        let elapsed = Duration::from_secs_f64(seconds);
        let progress = Progress { attempts: 1, elapsed, reached };
        pause(&config(), Repeat::Harmless, progress, error, None).is_some()
    }

    #[test]
    fn patience_ends() {
        for error in [problem(Code::NotReady), connect()] {
            assert!(goes_on(&error, true, 29.8), "{error:?}");
            assert!(!goes_on(&error, true, 30.0), "{error:?}");
        }
        let never = ClientConfig { patience: Duration::ZERO, ..config() };
        let pause = pause(&never, Repeat::Harmless, REACHED, &connect(), Some(Duration::ZERO));
        assert_eq!(pause, None);
    }

    #[test]
    fn nobody_is_waited_for_who_never_answered() {
        assert!(goes_on(&connect(), false, 2.8));
        assert!(!goes_on(&connect(), false, 3.0));
        assert!(goes_on(&problem(Code::NotReady), false, 29.8), "somebody is there");
    }

    #[test]
    fn the_node_says_how_long_within_the_patience() {
        let error = problem(Code::Overloaded);
        let asked = |seconds| {
            let after = Some(Duration::from_secs(seconds));
            pause(&config(), Repeat::Harmless, REACHED, &error, after)
        };
        assert_eq!(asked(0), Some(config().first_pause), "not at once");
        assert_eq!(asked(29), Some(Duration::from_secs(29)));
        assert_eq!(asked(30), None);
        assert_eq!(asked(u64::MAX), None);
    }
}
