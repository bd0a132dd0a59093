use serde::{Deserialize, Deserializer};

/// A field that is present must have a value: `null` would be a second way to say that it is absent.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
