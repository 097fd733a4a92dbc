//! The words of Prometheus' text format: values of labels, cut and escaped, and numbers.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use memchr::memchr3;
use sha2::{Digest, Sha256};

use crate::moment::Timestamp;

/// Longest label value, in characters.
const LABEL_LIMIT: usize = 200;

/// The value, or, where it is too long, its beginning and a digest: cut names must stay different from each
/// other, because one series that stands twice makes Prometheus refuse the whole page.
pub(super) fn cut(value: &str) -> Cow<'_, str> {
    // No character is shorter than a byte, so this one comparison settles all usual names.
    if value.len() <= LABEL_LIMIT || value.chars().count() <= LABEL_LIMIT {
        return Cow::Borrowed(value);
    }
    let digest = Sha256::digest(value.as_bytes());
    let mut short: String = value.chars().take(LABEL_LIMIT - 9).collect();
    short.push('~');
    short.extend(digest.iter().take(4).map(|byte| format!("{byte:02x}")));
    Cow::Owned(short)
}

/// What stands behind a series.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sample {
    Flag(bool),
    Time(Timestamp),
    Number(f64),
}

/// Appends `name="value"`, the value cut and escaped.
pub(super) fn push_label(out: &mut BytesMut, (name, value): (&str, &str)) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    push_value(out, value);
    out.put_u8(b'"');
}

/// Appends the value of a label, cut and escaped.
pub(super) fn push_value(out: &mut BytesMut, value: &str) {
    let value = cut(value);
    let mut rest = value.as_bytes();
    // Most values have no odd character and are copied in one piece.
    while let Some((before, [odd, behind @ ..])) =
        memchr3(b'\\', b'"', b'\n', rest).and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(before);
        out.extend_from_slice(&[b'\\', if *odd == b'\n' { b'n' } else { *odd }]);
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Appends the number, as the shortest decimal has it, and the end of the line.
pub(super) fn push_sample(out: &mut BytesMut, sample: Sample) {
    // Writing to memory cannot fail.
    let _ = match sample {
        Sample::Flag(value) => return out.extend_from_slice(if value { b"1\n" } else { b"0\n" }),
        // Through integers: many times faster than through a float.
        Sample::Time(at) if at.millis() >= 0 => {
            let (seconds, millis) = (at.millis() / 1000, at.millis() % 1000);
            match millis {
                0 => write!(out, "{seconds}"),
                _ if millis % 100 == 0 => write!(out, "{seconds}.{}", millis / 100),
                _ if millis % 10 == 0 => write!(out, "{seconds}.{:02}", millis / 10),
                _ => write!(out, "{seconds}.{millis:03}"),
            }
        }
        Sample::Time(at) => write!(out, "{}", at.seconds()),
        Sample::Number(number) => write!(out, "{number}"),
    };
    out.put_u8(b'\n');
}
