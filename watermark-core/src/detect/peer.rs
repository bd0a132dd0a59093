//! What an engine's own detector would report, for comparison only. None of these numbers carries a verdict: mid-p values,
//! matched Gamma laws, normal approximations and missing deduplication all understate p somewhere.

use hashbrown::HashSet;

use super::engine::EnginePrf;
use super::rule::{Position, Rule};
use super::{LayerDetector, Pair};
use crate::scheme::{Engine, EngineScore, Peer};
use crate::stats::ln_binomial_sf;

/// A peer's own statistic over what was added, as `f64` like the peer's.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatistic {
    /// Positions that the peer scores.
    pub n: u64,
    /// Its statistic: score sum, green count or z, mean g-value.
    pub statistic: f64,
    /// Its p-value; `None` where the peer has none.
    pub p_value: Option<f64>,
    /// Which positions count and where p comes from.
    pub rule: &'static str,
}

/// Sums a peer's scores over records; repeats are remembered over the whole input, in the order of the records (a peer
/// itself looks at one text).
#[derive(Clone, Debug)]
pub struct PeerTally {
    prf: EnginePrf,
    seen: HashSet<Pair>,
    n: u64,
    sum: f64,
}

/// What the peer scores once.
enum Once {
    EveryPosition,
    Context,
    ContextAndToken,
}

impl LayerDetector {
    /// The engine's own detector; `None` for our own schemes.
    #[must_use]
    pub fn peer_tally(&self) -> Option<PeerTally> {
        let prf = self.engine_prf()?.clone();
        Some(PeerTally { prf, seen: HashSet::new(), n: 0, sum: 0.0 })
    }
}

impl PeerTally {
    fn engine(&self) -> &Engine {
        self.prf.engine()
    }

    fn once(&self) -> Once {
        match self.engine().peer {
            Peer::Vllm | Peer::Sglang | Peer::SynthIdDeepMind | Peer::HfSynthId => Once::Context,
            Peer::TextSeal2025 | Peer::TextSeal2026 => Once::ContextAndToken,
            Peer::HfKgwLeftHash | Peer::HfKgwSelfHash | Peer::ThreeBricks => Once::EveryPosition,
        }
    }

    /// Adds one record's generated tokens, ids below 2^24; contexts reach into the prompt only where the engine's do.
    pub fn add(&mut self, prompt: &[u32], tokens: &[u32]) {
        let rule = self.prf.rule();
        let once = self.once();
        let mut pairs = Vec::new();
        let mut keep = |context: Pair, pair: Pair| {
            let new = match once {
                Once::EveryPosition => true,
                Once::Context => self.seen.insert(context),
                Once::ContextAndToken => self.seen.insert(pair),
            };
            if new {
                pairs.push(pair);
            }
        };
        if matches!(rule, Rule::Padded { .. } | Rule::PromptHash { .. }) {
            rule.positions(prompt, &[], tokens, |position| {
                if let Position::Input(pair) = position {
                    keep(pair.without_token(), pair);
                }
            });
        } else {
            let width = rule.width();
            // TextSeal begins one token later than it could.
            let first = width + usize::from(matches!(rule, Rule::Sum { .. }));
            for i in first..tokens.len() {
                let window = &tokens[i - width..i];
                if let Some(pair) = rule.input(window, tokens[i]) {
                    keep(Pair::new(&window[..window.len().min(8)], 0), pair);
                }
            }
        }
        self.n += pairs.len() as u64;
        self.sum += self.prf.peer_score_sum(&pairs);
    }

    /// What the peer would print.
    #[must_use]
    pub fn statistic(&self) -> PeerStatistic {
        let (n, sum) = (self.n as f64, self.sum);
        let (statistic, p_value, rule) = match (self.engine().peer, self.engine().score) {
            (Peer::Vllm, EngineScore::Gumbel) => {
                (sum, Some(gamma_q(n, sum)), "each context once; Gamma(n, 1) without a logarithm")
            }
            (Peer::Sglang, _) => (sum, Some(gamma_q(n, sum)), "each context once; Gamma(n, 1)"),
            (_, EngineScore::DualKey(scheme)) => {
                let alpha = scheme.alpha();
                let v = (1.0 - alpha) * (1.0 - alpha) + alpha * alpha;
                let rule = match self.once() {
                    Once::ContextAndToken => "each window and token once; Gamma law matched in two moments, not exact",
                    _ => "each context once; Gamma law matched in two moments, not exact",
                };
                (sum, Some(gamma_q(n / v, sum / v)), rule)
            }
            (Peer::TextSeal2025 | Peer::TextSeal2026, EngineScore::Gumbel) => {
                (sum, Some(gamma_q(n, sum)), "each window and token once; Gamma(n, 1)")
            }
            (Peer::TextSeal2025 | Peer::TextSeal2026, EngineScore::Greenlist { gamma }) => (
                sum,
                Some(mid_p(sum, n, gamma)),
                "each window and token once; mid-p, half of the point's chance left out",
            ),
            (Peer::TextSeal2025 | Peer::TextSeal2026, EngineScore::Tournament { depth }) => (
                sum,
                Some(mid_p(sum, n * f64::from(depth), 0.5)),
                "each window and token once; mid-p over all rounds, shared ones included",
            ),
            (Peer::ThreeBricks, EngineScore::Greenlist { gamma }) => {
                let p = libm::exp(ln_binomial_sf(whole(sum), self.n, gamma));
                (sum, Some(p), "every position, repeats included; binomial")
            }
            (Peer::ThreeBricks, _) => (sum, Some(gamma_q(n, sum)), "every position, repeats included; Gamma(n, 1)"),
            (Peer::HfKgwLeftHash | Peer::HfKgwSelfHash, EngineScore::Greenlist { gamma }) => {
                let z = if n > 0.0 { (sum - gamma * n) / libm::sqrt(n * gamma * (1.0 - gamma)) } else { 0.0 };
                let p = 0.5 * libm::erfc(z / std::f64::consts::SQRT_2);
                (z, Some(p), "every position, repeats included; z and the normal tail")
            }
            (_, EngineScore::Tournament { depth }) => {
                let mean = if n > 0.0 { sum / (n * f64::from(depth)) } else { 0.0 };
                (mean, None, "each context once; mean g-value, no p-value")
            }
            _ => (sum, None, "no statistic"),
        };
        PeerStatistic { n: self.n, statistic: statistic + 0.0, p_value: p_value.map(|p| p + 0.0), rule }
    }
}

fn whole(count: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let whole = count as u64;
    whole
}

/// `P(X >= k) - P(X = k) / 2`.
fn mid_p(k: f64, n: f64, p: f64) -> f64 {
    let (k, n) = (whole(k), whole(n));
    let tail = |k| libm::exp(ln_binomial_sf(k, n, p));
    if n == 0 { 1.0 } else { 0.5 * (tail(k) + if k < n { tail(k + 1) } else { 0.0 }) }
}

/// Regularised upper incomplete gamma function for any positive shape (series below the mean, continued fraction above: DLMF
/// 8.7.1, 8.9.2), in ordinary numbers: it underflows where the peer's does.
fn gamma_q(shape: f64, x: f64) -> f64 {
    if shape <= 0.0 || x <= 0.0 {
        return 1.0;
    }
    let front = libm::exp(shape * libm::log(x) - x - libm::lgamma(shape));
    if x < shape + 1.0 {
        let (mut term, mut sum, mut k) = (1.0 / shape, 1.0 / shape, shape);
        while term > sum * 1e-17 {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    // Modified Lentz.
    let (mut b, mut c) = (x + 1.0 - shape, 1e300);
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..100_000 {
        let a = -f64::from(i) * (f64::from(i) - shape);
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_q_of_any_shape() {
        assert!((gamma_q(1.0, 2.0) - libm::exp(-2.0)).abs() < 1e-14);
        assert!((gamma_q(0.5, 0.3) - libm::erfc(libm::sqrt(0.3))).abs() < 1e-13);
        assert!((gamma_q(100.0, 150.0) / 5.924_540_335e-6 - 1.0).abs() < 1e-8);
        // vLLM's matched Gamma for n = 100, mean 1.5, alpha .1, and where it gives up
        let v = 0.82;
        assert!((gamma_q(100.0 / v, 150.0 / v) / 6.796e-7 - 1.0).abs() < 1e-3);
        assert!(gamma_q(1000.0, 9000.0) < f64::MIN_POSITIVE);
    }

    #[test]
    fn mid_p_of_ten_green_tokens() {
        assert!((mid_p(10.0, 10.0, 0.5) - 0.000_488_28).abs() < 1e-8);
    }
}
