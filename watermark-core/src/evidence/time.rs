//! Times as formats write them: `2026-11-25T01:02:03Z`, so that they compare as text.

use std::ops::Range;

use crate::{Error, ErrorKind, Result};

/// Checks that the text names an existing second in UTC, because it is shown to people and a stranger may have signed
/// it.
pub(super) fn check_time(text: &str) -> Result<()> {
    let form = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    if text.len() == form.len() && text.bytes().zip(form).all(fits) && is_in_calendar(text.as_bytes()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidEvidence, "not a time like 2026-11-25T01:02:03Z"))
}

/// Whether fields of digits at their places name a day of the Gregorian calendar (from year 1 on) and a second of it.
fn is_in_calendar(text: &[u8]) -> bool {
    let number = |range: Range<usize>| text[range].iter().fold(0, |n, digit| 10 * n + u64::from(digit - b'0'));
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    year > 0
        && (1..=days_of(year, month)).contains(&day)
        && number(11..13) < 24
        && number(14..16) < 60
        && number(17..19) < 60
}

/// Seconds since 1970 as `2026-11-25T01:02:03Z`, without leap seconds; `None` past the year 9999.
pub(super) fn time_of_unix(seconds: u64) -> Option<String> {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    // Whole years, then whole months: a few thousand steps at most.
    let length = |year: u64| if is_leap(year) { 366 } else { 365 };
    let mut year = 1970;
    while day >= length(year) {
        day -= length(year);
        year += 1;
        if year > 9999 {
            return None;
        }
    }
    let mut month = 1;
    while day >= days_of(year, month) {
        day -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days of a month, 0 for one that does not exist.
fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_a_calendar() {
        for good in ["2026-11-25T00:00:00Z", "2024-02-29T23:59:59Z", "2000-02-29T00:00:00Z", "0001-01-01T00:00:00Z"] {
            assert!(check_time(good).is_ok(), "{good}");
        }
        for bad in [
            "2026-13-25T00:00:00Z",
            "2026-00-25T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T00:60:00Z",
            "2026-11-25T00:00:60Z",
            "2026-11-25 00:00:00Z",
            "2026-11-25T00:00:00",
            "٢٠٢٦-11-25T00:00:00Z",
        ] {
            assert!(check_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_become_times() {
        for (seconds, time) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_692_803_367, "2023-08-23T15:09:27Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(time_of_unix(seconds).as_deref(), Some(time));
        }
        assert_eq!(time_of_unix(253_402_300_800), None);
        assert_eq!(time_of_unix(u64::MAX), None);
    }
}
