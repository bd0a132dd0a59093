//! Rotary positions (2104.09864): queries and keys are turned by angles proportional to their position, so that a score
//! depends on the distance alone.
//!
//! Adjacent components (2 i, 2 i + 1) of a head form a pair, as in the paper and in llama.cpp's `arcee` models; other
//! implementations pair i with i + head / 2.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::ops::floats;

/// Base of the wavelengths (2104.09864, section 3.2.2).
pub(crate) const THETA: f64 = 10_000.0;

/// Turns queries or keys [B, H, T, head] by their index along T; `head` is even.
pub(crate) fn rotary(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rotary { direction: 1.0 })
}

/// Cosine and sine of each pair's angle at `position`: [head / 2].
pub(crate) fn angles(position: usize, head: usize) -> Vec<(f32, f32)> {
    let angle = |pair: usize| position as f64 * THETA.powf(-2.0 * pair as f64 / head as f64);
    (0..head / 2).map(|pair| (angle(pair).cos() as f32, angle(pair).sin() as f32)).collect()
}

/// Turns every pair of one head's vector by its angle.
pub(crate) fn turn(head: &mut [f32], angles: &[(f32, f32)]) {
    for ([a, b], (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

struct Rotary {
    /// 1 turns, -1 turns back.
    direction: f32,
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = floats(storage, layout)?.to_vec();
        let &[.., t, head] = layout.dims() else { bail!("expected [.., T, head], found {:?}", layout.dims()) };
        let angles: Vec<_> =
            (0..t).flat_map(|p| angles(p, head)).map(|(cos, sin)| (cos, sin * self.direction)).collect();
        out.par_chunks_mut(t * head).for_each(|sequence| {
            for (vector, angles) in sequence.chunks_mut(head).zip(angles.chunks(head / 2)) {
                turn(vector, angles);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// The transpose of a rotation turns back.
    fn bwd(&self, _arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&Rotary { direction: -self.direction })?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use candle_core::{Device, Var};

    use super::*;

    /// candle's interleaved rotary embedding, differentiated by its autograd, is the reference.
    #[test]
    fn values_and_gradients_equal_candles_rotary_embedding() {
        let (t, head) = (50, 12);
        let tensor = || Tensor::rand(-1f32, 1.0, (2, 3, t, head), &Device::Cpu).unwrap();
        let (x, weights) = (Var::from_tensor(&tensor()).unwrap(), tensor());
        let (cos, sin): (Vec<f32>, Vec<f32>) = (0..t).flat_map(|p| angles(p, head)).unzip();
        let table = |values| Tensor::from_vec(values, (t, head / 2), &Device::Cpu).unwrap();
        let expected = candle_nn::rotary_emb::rope_i_slow(&x, &table(cos), &table(sin)).unwrap();
        let turned = rotary(&x).unwrap();
        let gradient = |y: &Tensor| {
            let grads = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            grads.get(&x).unwrap().clone()
        };
        for (ours, theirs) in [(&turned, &expected), (&gradient(&turned), &gradient(&expected))] {
            let difference = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn a_score_depends_on_the_distance_alone() {
        let turned = |vector: [f32; 4], position| {
            let mut vector = vector;
            turn(&mut vector, &angles(position, 4));
            vector
        };
        let score = |p, q| {
            let (a, b) = (turned([0.3, -1.1, 0.7, 0.2], p), turned([0.9, 0.4, -0.6, 1.3], q));
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!((score(3, 8) - score(103, 108)).abs() < 1e-5);
        assert!((score(3, 8) - score(3, 9)).abs() > 1e-2);
        // One radian per position for the first pair, by hand.
        assert!((turned([1.0, 0.0, 0.0, 0.0], 1)[1] - 0.841_471).abs() < 1e-6);
    }
}
