pub(super) const GZIP: &[u8] = b"\x1f\x8b";
pub(super) const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Frames that zstd skips, with which seekable and parallel archives begin; the first byte's low half is free.
const ZSTD_SKIPPABLE: &[u8] = b"\x2a\x4d\x18";

/// How an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    pub(super) fn sniff(head: &[u8]) -> Self {
        if head.starts_with(GZIP) {
            Self::Gzip
        } else if head.starts_with(ZSTD) || (head.len() >= 4 && head[0] >> 4 == 5 && &head[1..4] == ZSTD_SKIPPABLE) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}
