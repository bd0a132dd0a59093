//! Bytes as hexadecimal digits. Every function takes the same time for all values, because many of them are keys.

/// Lower-case digits, two for each byte. Whoever encodes a secret erases the string.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Reads lower-case digits into `bytes`; `None` unless there are exactly two for each byte. Evidence is read with this
/// function, because its text may have one form only.
#[must_use]
pub fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len();
    base16ct::lower::decode(digits, bytes).ok().filter(|decoded| decoded.len() == length).map(|_| ())
}

/// Reads digits of either case as [`decode`] reads lower-case ones: for what people type and other programs write.
#[must_use]
pub fn decode_any_case(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len();
    base16ct::mixed::decode(digits, bytes).ok().filter(|decoded| decoded.len() == length).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_nothing_else() {
        assert_eq!(encode(&[0x00, 0x9f, 0xa0, 0xff]), "009fa0ff");
        let lower = |digits: &str| {
            let mut bytes = [0; 2];
            decode(digits.as_bytes(), &mut bytes).map(|()| bytes)
        };
        let any_case = |digits: &str| {
            let mut bytes = [0; 2];
            decode_any_case(digits.as_bytes(), &mut bytes).map(|()| bytes)
        };
        assert_eq!(lower("9fa0"), Some([0x9f, 0xa0]));
        assert_eq!((lower("9FA0"), any_case("9Fa0")), (None, Some([0x9f, 0xa0])));
        for bad in ["", "9f", "9fa", "9fa00", "9fa0ff", "9fg0", " 9fa", "+9fa", "9f\u{e9}"] {
            assert_eq!((lower(bad), any_case(bad)), (None, None), "{bad:?}");
        }
    }
}
