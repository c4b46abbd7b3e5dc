//! What servers answer to the few requests of `bucket.rs`: of each only what is needed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link::Trouble;

/// The header by which every program that knows KV tells that an entry deletes its key.
pub(super) const OPERATION: &str = "KV-Operation";

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
pub(super) struct StreamInfo {
    pub(super) created: String,
    pub(super) config: StreamConfig,
    pub(super) state: StreamState,
    /// How many subjects there are in all; the answer has as many as fit into a page.
    #[serde(default)]
    pub(super) total: u64,
}

#[derive(Deserialize)]
pub(super) struct StreamConfig {
    #[serde(default)]
    pub(super) max_msgs_per_subject: i64,
    pub(super) republish: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct StreamState {
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) num_subjects: u64,
    pub(super) subjects: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
pub(super) struct Got {
    pub(super) message: GotMessage,
}

#[derive(Deserialize)]
pub(super) struct GotMessage {
    pub(super) subject: String,
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) hdrs: String,
    #[serde(default)]
    pub(super) data: String,
    #[serde(default)]
    pub(super) time: String,
}

#[derive(Deserialize)]
pub(super) struct Acknowledged {
    pub(super) stream: String,
    pub(super) seq: u64,
}

/// Reads an answer, or the refusal in its place.
///
/// # Errors
///
/// [`Trouble::Refused`] and [`Trouble::Garbled`].
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    let garbled = |error: serde_json::Error| Trouble::Garbled(error.to_string());
    let answer: Answer = serde_json::from_slice(bytes).map_err(garbled)?;
    match answer.error {
        Some(refusal) => Err(Trouble::Refused {
            code: refusal.err_code,
            text: refusal.description,
        }),
        None => serde_json::from_slice(bytes).map_err(garbled),
    }
}

/// Whether the headers tell that an entry deletes its key: `DEL`, `PURGE` of the tools, and the
/// marker that servers from 2.11 on leave for what has expired.
pub(super) fn is_deletion(headers: &str) -> bool {
    headers.lines().any(|line| match line.split_once(':') {
        Some((OPERATION, value)) => matches!(value.trim(), "DEL" | "PURGE"),
        Some(("Nats-Marker-Reason", _)) => true,
        _ => false,
    })
}

/// Reads a time as servers write it, `2026-11-21T16:57:22.123456789Z`.
pub(super) fn time_ms(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    // The days of the civil calendar since 1970, counted in years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = (year * 365 + leap_days + (153 * month + 2) / 5 + day).checked_sub(719_469)?;
    let fraction = text.get(20..).unwrap_or_default();
    let thousandths = fraction.bytes().chain(*b"000").filter(u8::is_ascii_digit);
    let thousandths = thousandths
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((days * 86_400 + seconds) * 1000 + thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_servers_write_them() {
        assert_eq!(time_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time_ms("2000-02-29T23:59:59.5Z"), Some(951_868_799_500));
        assert_eq!(
            time_ms("2026-11-21T16:57:22.123456789Z"),
            Some(1_795_280_242_123)
        );
        for wrong in [
            "",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "yesterday",
            "2026-11-21",
        ] {
            assert_eq!(time_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn deletions_are_told_by_the_headers() {
        for deletion in [
            "KV-Operation: DEL",
            "KV-Operation:PURGE",
            "Nats-Marker-Reason: MaxAge",
        ] {
            assert!(is_deletion(&format!(
                "NATS/1.0\r\nX: y\r\n{deletion}\r\n\r\n"
            )));
        }
        assert!(!is_deletion(
            "NATS/1.0\r\nKV-Operation: PUT\r\nX: DEL\r\n\r\n"
        ));
        assert!(!is_deletion(""));
    }

    #[test]
    fn an_answer_is_a_refusal_or_what_was_asked_for() {
        let refused = read::<Acknowledged>(
            br#"{"type":"x","error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}"#,
        );
        let text = "wrong last sequence: 3".to_owned();
        assert_eq!(refused.err(), Some(Trouble::Refused { code: 10071, text }));
        let done: Acknowledged = read(br#"{"stream":"KV_x","seq":7,"domain":"y"}"#).unwrap();
        assert_eq!(done.seq, 7);
        let garbled = read::<Acknowledged>(br#"{"stream":"KV_x"}"#).err().unwrap();
        assert!(garbled.to_string().contains("seq"), "{garbled}");
    }
}
