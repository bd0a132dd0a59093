/// A number format of logits: `f32`, and `half::f16` and `half::bf16` with the feature `batch`.
///
/// The arithmetic is in `f32`; what is written back is rounded to the format and stays finite if it was.
pub trait Logit: Copy + Send + Sync + sealed::Sealed {
    /// The value, exactly.
    fn to_f32(self) -> f32;
    /// The nearest value of the format; the largest finite one for a finite value beyond it.
    fn from_f32(value: f32) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for f32 {}

impl Logit for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }
}

#[cfg(feature = "batch")]
macro_rules! half_precision {
    ($($format:ty),*) => {$(
        impl sealed::Sealed for $format {}

        impl Logit for $format {
            fn to_f32(self) -> f32 {
                Self::to_f32(self)
            }

            fn from_f32(value: f32) -> Self {
                let limit = Self::MAX.to_f32();
                Self::from_f32(if value.is_finite() { value.clamp(-limit, limit) } else { value })
            }
        }
    )*};
}

#[cfg(feature = "batch")]
half_precision!(half::f16, half::bf16);
