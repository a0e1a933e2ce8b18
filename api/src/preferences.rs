//! What a caller prefers (RFC 7240): an answer at once, or one that waits for the outcome.

use std::time::Duration;

use poem::http::HeaderMap;

/// The longest that an answer is held back.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

const HEADER: &str = "prefer";

/// What the header `Prefer` says of what is known here; the rest is ignored, as the standard wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// Status 202 for what is not done yet.
    pub(crate) respond_async: bool,
    /// How long to wait for the outcome, at most [`MAX_WAIT`].
    pub(crate) wait: Option<Duration>,
}

impl Preferences {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        let values = headers.get_all(HEADER).iter();
        for preference in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
        {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim() {
                name if name.eq_ignore_ascii_case("respond-async") => all.respond_async = true,
                // The first of several holds.
                name if name.eq_ignore_ascii_case("wait") && all.wait.is_none() => {
                    let seconds = value.trim().trim_matches('"').parse().ok();
                    all.wait = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT));
                }
                _ => {}
            }
        }
        all
    }

    /// What is granted, for the header `Preference-Applied`.
    pub(crate) fn applied(self) -> Option<String> {
        let wait = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        match (self.respond_async, wait) {
            (true, Some(wait)) => Some(format!("respond-async, {wait}")),
            (true, None) => Some("respond-async".to_owned()),
            (false, wait) => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> (bool, Option<u64>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let preferences = Preferences::of(&headers);
        (
            preferences.respond_async,
            preferences.wait.map(|wait| wait.as_secs()),
        )
    }

    #[test]
    fn what_is_known_is_taken_and_what_is_not_is_ignored() {
        assert_eq!(of(&[]), (false, None));
        assert_eq!(of(&["wait=5, Respond-Async"]), (true, Some(5)));
        assert_eq!(
            of(&["respond-async; foo=1", "WAIT = \"7\""]),
            (true, Some(7))
        );
        assert_eq!(of(&["wait=1", "wait=2"]), (false, Some(1)));
        assert_eq!(of(&["wait=600"]), (false, Some(60)));
        for ignored in ["wait", "wait=", "wait=-1", "wait=x", "handling=lenient"] {
            assert_eq!(of(&[ignored]), (false, None), "{ignored}");
        }
    }

    #[test]
    fn what_was_applied_is_said() {
        let applied = |respond_async, wait: Option<u64>| {
            let wait = wait.map(Duration::from_secs);
            Preferences {
                respond_async,
                wait,
            }
            .applied()
        };
        assert_eq!(applied(false, None), None);
        assert_eq!(applied(true, None).as_deref(), Some("respond-async"));
        assert_eq!(applied(false, Some(3)).as_deref(), Some("wait=3"));
        assert_eq!(
            applied(true, Some(3)).as_deref(),
            Some("respond-async, wait=3")
        );
    }
}
