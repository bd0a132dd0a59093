//! Requests for time stamps (RFC 3161). Nothing else of that protocol is here: responses carry certificate chains, and are
//! verified by programs made for that.

use super::merkle::Hash;

/// A time-stamp request (DER `TimeStampReq`, version 1) for a SHA-256 digest, with nonce, and asking for the authority's
/// certificate. `nonce` should be fresh; its first byte is changed to keep the integer positive and 8 bytes long.
#[must_use]
pub fn request(sha256: &Hash, nonce: [u8; 8]) -> Vec<u8> {
    // SEQUENCE of 67 bytes: INTEGER 1; messageImprint: SEQUENCE { { id-sha256, NULL }, OCTET STRING of 32 bytes }
    let mut der = vec![0x30, 0x43, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d];
    der.extend([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20]);
    der.extend(sha256);
    // INTEGER nonce; BOOLEAN certReq = TRUE
    der.extend([0x02, 0x08, nonce[0] & 0x3f | 0x40]);
    der.extend(&nonce[1..]);
    der.extend([0x01, 0x01, 0xff]);
    der
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// `openssl ts -query -digest 0101…01 -sha256 -cert` gives these bytes but for the nonce (OpenSSL 3.0.19).
    #[test]
    fn bytes_of_a_request() {
        let der = request(&[1; 32], [0xff, 2, 3, 4, 5, 6, 7, 8]);
        let expected = format!(
            "3043020101{}{}0208{}0101ff",
            "3031300d060960864801650304020105000420",
            "01".repeat(32),
            "7f02030405060708"
        );
        assert_eq!(hex::encode(&der), expected);
    }
}
