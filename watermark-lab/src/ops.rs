//! The parts of a transformer that would dominate training on a CPU as chains of elementary operations, each as one
//! pass with a hand-written gradient (checked against finite differences in the tests).

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Added to the mean square before the root.
pub(crate) const NORM_EPSILON: f32 = 1e-5;

/// Root-mean-square normalisation of the last axis (1910.07467) without a learned gain.
pub(crate) fn rms_norm(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(RmsNorm)
}

/// Softmax over the last axis of attention scores [.., T, T], row i limited to columns 0..=i, after scaling.
pub(crate) fn causal_softmax(scores: &Tensor, scale: f32) -> Result<Tensor> {
    scores.contiguous()?.apply_op1(CausalSoftmax { scale })
}

/// Sum of the cross-entropies in nats of logits [N, V] against targets [N], times weights [N].
pub(crate) fn cross_entropy(logits: &Tensor, targets: Vec<u32>, weights: Vec<f32>) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(CrossEntropy { targets, weights })
}

pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let data = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => bail!("a contiguous tensor was expected"),
    }
}

fn last_axis(layout: &Layout) -> Result<usize> {
    match layout.dims() {
        [.., last] if *last > 0 => Ok(*last),
        dims => bail!("a non-empty last axis was expected, found {dims:?}"),
    }
}

pub(crate) fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    // Eight partial sums: the compiler may not reorder a single one.
    let mut sums = [0.0f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// 1 / rms of a row.
pub(crate) fn inverse_rms(row: &[f32]) -> f32 {
    1.0 / (sum_of_products(row, row) / row.len() as f32 + NORM_EPSILON).sqrt()
}

/// exp(x) for x <= 0 to a relative error below 1e-5 (the reduction is in f32), in arithmetic that vectorises: 2^n times a polynomial in the fraction.
#[inline]
pub(crate) fn exp_negative(x: f32) -> f32 {
    let t = x.max(-87.0) * std::f32::consts::LOG2_E;
    let n = (t - 0.5) as i32; // truncation towards zero of a non-positive number: rounds to nearest
    let r = (t - n as f32) * std::f32::consts::LN_2;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    p * f32::from_bits(((n + 127) << 23).cast_unsigned())
}

/// Softmax in place of already scaled values.
pub(crate) fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp_negative(*x - max);
    }
    let scale = 1.0 / row.iter().sum::<f32>();
    for x in row.iter_mut() {
        *x *= scale;
    }
}

struct RmsNorm;

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, n) = (floats(storage, layout)?, last_axis(layout)?);
        let mut out = x.to_vec();
        out.par_chunks_mut(n).for_each(|row| {
            let scale = inverse_rms(row);
            row.iter_mut().for_each(|x| *x *= scale);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(arg.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &RmsNormGrad)?))
    }
}

struct RmsNormGrad;

impl CustomOp2 for RmsNormGrad {
    fn name(&self) -> &'static str {
        "rms-norm-grad"
    }

    /// d/dx of y = x s, s = (mean x^2 + eps)^(-1/2): g s - x s^3 mean(g x).
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad, n) = (floats(s1, l1)?, floats(s2, l2)?, last_axis(l1)?);
        let mut out = grad.to_vec();
        out.par_chunks_mut(n).zip(x.par_chunks(n)).for_each(|(grad, x)| {
            let s = inverse_rms(x);
            let along = s * s * s * sum_of_products(grad, x) / n as f32;
            for (grad, x) in grad.iter_mut().zip(x) {
                *grad = *grad * s - x * along;
            }
        });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

struct CausalSoftmax {
    scale: f32,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (scores, n) = (floats(storage, layout)?, last_axis(layout)?);
        let mut out = vec![0.0f32; scores.len()];
        out.par_chunks_mut(n * n).zip(scores.par_chunks(n * n)).for_each(|(out, scores)| {
            for (i, (out, scores)) in out.chunks_mut(n).zip(scores.chunks(n)).enumerate() {
                for (out, score) in out[..=i].iter_mut().zip(scores) {
                    *out = score * self.scale;
                }
                softmax(&mut out[..=i]);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _arg: &Tensor, res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = CausalSoftmaxGrad { scale: self.scale };
        Ok(Some(res.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &op)?))
    }
}

struct CausalSoftmaxGrad {
    scale: f32,
}

impl CustomOp2 for CausalSoftmaxGrad {
    fn name(&self) -> &'static str {
        "causal-softmax-grad"
    }

    /// scale * y (g - sum(g y)) within each row's causal part, 0 outside.
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, grad, n) = (floats(s1, l1)?, floats(s2, l2)?, last_axis(l1)?);
        let mut out = vec![0.0f32; y.len()];
        out.par_chunks_mut(n * n).zip(y.par_chunks(n * n)).zip(grad.par_chunks(n * n)).for_each(|((out, y), grad)| {
            for (i, ((out, y), grad)) in out.chunks_mut(n).zip(y.chunks(n)).zip(grad.chunks(n)).enumerate() {
                let along = sum_of_products(&y[..=i], &grad[..=i]);
                for ((out, y), grad) in out[..=i].iter_mut().zip(y).zip(grad) {
                    *out = self.scale * y * (grad - along);
                }
            }
        });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

struct CrossEntropy {
    targets: Vec<u32>,
    weights: Vec<f32>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, n) = (floats(storage, layout)?, last_axis(layout)?);
        let losses: Vec<f64> = logits
            .par_chunks(n)
            .zip(&self.targets)
            .zip(&self.weights)
            .map(|((row, &target), &weight)| {
                if weight == 0.0 {
                    return 0.0;
                }
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = row.iter().map(|x| exp_negative(x - max)).sum();
                f64::from(weight * (max + sum.ln() - row[target as usize]))
            })
            .collect();
        Ok((CpuStorage::F32(vec![losses.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = CrossEntropyGrad { op: self, scale: grad.to_scalar::<f32>()? };
        Ok(Some(arg.contiguous()?.apply_op1_no_bwd(&op)?))
    }
}

struct CrossEntropyGrad<'a> {
    op: &'a CrossEntropy,
    scale: f32,
}

impl CustomOp1 for CrossEntropyGrad<'_> {
    fn name(&self) -> &'static str {
        "cross-entropy-grad"
    }

    /// weight * (softmax - onehot).
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, n) = (floats(storage, layout)?, last_axis(layout)?);
        let mut out = logits.to_vec();
        out.par_chunks_mut(n).zip(&self.op.targets).zip(&self.op.weights).for_each(|((row, &target), &weight)| {
            let scale = weight * self.scale;
            if scale == 0.0 {
                row.fill(0.0);
                return;
            }
            softmax(row);
            row[target as usize] -= 1.0;
            row.iter_mut().for_each(|x| *x *= scale);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use candle_core::{Device, Var};

    use super::*;

    /// Gradient of `sum(f(x) * c)` against central differences.
    fn check(shape: &[usize], f: impl Fn(&Tensor) -> Tensor) {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0).collect();
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let objective = |x: &Tensor| {
            let y = f(x);
            let m = y.elem_count();
            let c: Vec<f32> = (0..m).map(|i| ((i * 29 % 17) as f32 - 8.0) / 5.0).collect();
            (y.flatten_all().unwrap() * Tensor::from_vec(c, m, &Device::Cpu).unwrap()).unwrap().sum_all().unwrap()
        };
        let x = Var::from_tensor(&tensor(values.clone())).unwrap();
        let grads = objective(x.as_tensor()).backward().unwrap();
        let grad: Vec<f32> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for i in 0..n {
            let at = |h: f32| {
                let mut moved = values.clone();
                moved[i] += h;
                objective(&tensor(moved)).to_scalar::<f32>().unwrap()
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - grad[i]).abs() < 2e-2 * (1.0 + slope.abs()), "{i}: {slope} {}", grad[i]);
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        check(&[3, 5], |x| rms_norm(x).unwrap());
        check(&[2, 4, 4], |x| causal_softmax(x, 0.7).unwrap());
        check(&[4, 6], |x| cross_entropy(x, vec![0, 5, 2, 3], vec![1.0, 0.0, 2.0, 1.0]).unwrap());
    }

    #[test]
    fn exp_negative_is_accurate() {
        for i in 0..87_000 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_negative(x)) - exact).abs() <= 1e-5 * exact, "{x}");
        }
    }

    #[test]
    fn causal_softmax_rows_sum_to_one_and_do_not_look_ahead() {
        let scores = Tensor::rand(-3f32, 3.0, (2, 3, 5, 5), &Device::Cpu).unwrap();
        let rows: Vec<Vec<f32>> = causal_softmax(&scores, 1.0).unwrap().reshape(((), 5)).unwrap().to_vec2().unwrap();
        for (i, row) in rows.iter().enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(row[i % 5 + 1..].iter().all(|&x| x == 0.0));
        }
    }
}
