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

/// How long to wait before the next attempt; nothing if there is none.
pub(crate) fn pause(
    config: &ClientConfig,
    repeat: Repeat,
    attempt: u32,
    error: &ClientError,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    if attempt >= config.attempts || !may_repeat(repeat, error) {
        return None;
    }
    if let Some(asked) = retry_after {
        return (asked <= config.longest_pause).then_some(asked);
    }
    let doubled = config.first_pause.saturating_mul(1 << (attempt - 1).min(20));
    Some(jittered(doubled.min(config.longest_pause)))
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

    fn config() -> ClientConfig {
        ClientConfig { attempts: 3, ..ClientConfig::new("http://127.0.0.1:1") }
    }

    fn problem(code: Code) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(code, "")))
    }

    fn repeats(repeat: Repeat, error: &ClientError) -> bool {
        pause(&config(), repeat, 1, error, None).is_some()
    }

    #[test]
    fn only_what_was_not_done_is_repeated_when_twice_is_not_once() {
        let url = String::new();
        let reason = String::new();
        let connect = ClientError::Connect { url: url.clone(), reason: reason.clone() };
        let broken = ClientError::Transport { url: url.clone(), reason };
        let late = ClientError::TimedOut { url, after: Duration::ZERO };
        for (error, harmless, not_done) in [
            (connect, true, true),
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
    fn pauses_double_within_their_bounds_and_end_with_the_attempts() {
        let config = ClientConfig { attempts: 60, ..config() };
        let error = problem(Code::Overloaded);
        for attempt in 1..60 {
            let pause = pause(&config, Repeat::Harmless, attempt, &error, None).unwrap();
            let whole = Duration::from_millis(100)
                .saturating_mul(1 << (attempt - 1).min(20))
                .min(config.longest_pause);
            assert!(pause <= whole && pause >= whole / 2, "{attempt}: {pause:?}");
        }
        assert_eq!(pause(&config, Repeat::Harmless, 60, &error, None), None);
    }

    #[test]
    fn the_node_says_how_long_but_not_for_ever() {
        let error = problem(Code::Overloaded);
        let asked = |seconds| {
            let after = Some(Duration::from_secs(seconds));
            pause(&config(), Repeat::Harmless, 1, &error, after)
        };
        assert_eq!(asked(10), Some(Duration::from_secs(10)));
        assert_eq!(asked(11), None);
    }
}
