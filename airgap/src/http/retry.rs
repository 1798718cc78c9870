//! When and after what pause a request is made again.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest pause, whatever a server asks for: whoever wants longer is asked again when this one has failed.
const LONGEST: Duration = Duration::from_mins(1);

/// Whether a server says that the same request may succeed later.
pub(super) fn put_off(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// The pause that a server asks for (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    pause_of(text, SystemTime::now())
}

fn pause_of(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Waits as long as the server asked, or longer after each failure.
pub(super) async fn pause(failures: u32, asked: Option<Duration>) {
    tokio::time::sleep(length(failures, asked)).await;
}

/// 0.2 s, 0.4 s, 0.8 s, at most 5 s; what the server asked for wins, up to a minute.
fn length(failures: u32, asked: Option<Duration>) -> Duration {
    let own = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(6));
    asked.map_or(own.min(Duration::from_secs(5)), |asked| asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_a_pause_in_seconds_or_until_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        assert_eq!(pause_of("7", now), Some(Duration::from_secs(7)));
        assert_eq!(pause_of("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(pause_of("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO), "it has passed");
        assert_eq!(pause_of("soon", now), None);
        assert_eq!(pause_of("-1", now), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(length(1, None), Duration::from_millis(200));
        assert_eq!(length(3, None), Duration::from_millis(800));
        assert_eq!(length(40, None), Duration::from_secs(5));
        assert_eq!(length(1, Some(Duration::from_secs(9))), Duration::from_secs(9));
        assert_eq!(length(9, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(length(1, Some(Duration::from_hours(24))), LONGEST);
    }
}
