//! Antidistillation fingerprinting beside a green list at equal Kullback-Leibler divergence from the teacher.

use anyhow::Result;
use rayon::prelude::*;
use watermark_core::mark::{Marker, Session, SessionOptions};
use watermark_core::scheme::{Adfp, Greenlist, Scheme};
use watermark_lab::fine_tune::FineTuning;
use watermark_lab::model::Model;
use watermark_lab::shipped;

use crate::access::{Access, Shown};
use crate::lab::{Data, Lab, Mark, SAMPLING, Start};
use crate::table::{Row, write};

const LEARNED: usize = 1200;
const ASKED: usize = 600;
const READ: usize = 150;
/// Unmarked answers on which the divergence is measured.
const MEASURED: usize = 60;
const HALVINGS: usize = 12;
/// No bonus of this size leaves anything of the teacher.
const LARGEST_LAMBDA: f64 = 400.0;

/// Logits of the teacher and probabilities of the proxy at every position of an answer.
struct Rows {
    tokens: Vec<u32>,
    teacher: Vec<Vec<f32>>,
    proxy: Vec<Vec<f32>>,
}

pub(crate) fn run(lab: &Lab, seeds: u64, out: &str) -> Result<()> {
    let mut rows = Vec::new();
    for delta in [1.0, 2.0] {
        let greenlist = Scheme::Greenlist(Greenlist::new(0.5, delta)?);
        let measured = measured(lab)?;
        let target = divergence(lab, greenlist, &measured)?;
        let (mut low, mut high) = (0.0, LARGEST_LAMBDA);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if divergence(lab, Scheme::Adfp(Adfp::new(0.5, middle)?), &measured)? < target {
                low = middle;
            } else {
                high = middle;
            }
        }
        let lambda = 0.5 * (low + high);
        let adfp = Scheme::Adfp(Adfp::new(0.5, lambda)?);
        for (name, strength, scheme) in [("greenlist", delta, greenlist), ("adfp", lambda, adfp)] {
            let nats = divergence(lab, scheme, &measured)?;
            for seed in 1..=seeds {
                let mark = Mark { scheme, width: 1, key: seed };
                let layer = lab.layer(&mark)?;
                let served = lab.teacher(&mark, true, 500 + seed, 2400)?;
                let student =
                    lab.student(Start::Base, None, &served.slice(0, LEARNED), &FineTuning::with_seed(seed))?;
                let asked = lab.ask(&student, 9000 + seed, ASKED, 0.8)?;
                let closed = Shown::new(lab, Access::Closed, &student, &asked)?;
                let finding = closed.sample(&layer, closed.tokens(), usize::MAX)?.test(&layer)?;
                let read = Shown::new(lab, Access::Reading, &student, &served.slice(0, READ))?;
                let reading = read.sample(&layer, read.tokens(), usize::MAX)?.test(&layer)?;
                eprintln!(
                    "{name} {strength:.2}: {nats:.4} nats, seed {seed}, log10 p {:.2}, reading {:.2}",
                    finding.log10_p, reading.log10_p
                );
                rows.push(Row::new(&[
                    ("scheme", name.to_owned()),
                    ("strength", format!("{strength:.3}")),
                    ("kl_nats_per_token", format!("{nats:.5}")),
                    ("seed", seed.to_string()),
                    ("tokens", closed.tokens().to_string()),
                    ("weighted_mean", format!("{:.5}", finding.weighted_mean())),
                    ("log10_p", format!("{:.3}", finding.log10_p)),
                    ("reading_tokens", read.tokens().to_string()),
                    ("reading_log10_p", format!("{:.3}", reading.log10_p)),
                ]));
                write(out, &rows)?;
            }
        }
    }
    Ok(())
}

fn measured(lab: &Lab) -> Result<Vec<Rows>> {
    let mark = Mark { scheme: Scheme::Greenlist(Greenlist::new(0.5, 2.0)?), width: 1, key: 0 };
    let data: Data = lab.teacher(&mark, false, 77, MEASURED)?;
    let (teacher, proxy) = (shipped::teacher()?, shipped::base()?);
    let rows = data.questions.par_iter().zip(&data.answers).filter(|(_, answer)| !answer.tokens.is_empty()).map(
        |(question, answer)| {
            let prompt = lab.prompt(question)?;
            let logits = |model: &Model| -> Result<Vec<Vec<f32>>> {
                let ids = [prompt.as_slice(), &answer.tokens[..answer.tokens.len() - 1]].concat();
                Ok(model.forward(&ids, 1)?.detach().narrow(0, prompt.len() - 1, answer.tokens.len())?.to_vec2()?)
            };
            let proxy =
                logits(&proxy)?.into_iter().map(|row| probabilities(&row).into_iter().map(|p| p as f32).collect());
            Ok(Rows { tokens: answer.tokens.clone(), teacher: logits(&teacher)?, proxy: proxy.collect() })
        },
    );
    rows.collect()
}

/// Mean over positions of KL(marked, unmarked) in nats, both truncated alike.
fn divergence(lab: &Lab, scheme: Scheme, measured: &[Rows]) -> Result<f64> {
    let mark = Mark { scheme, width: 1, key: 1 };
    let marker = Marker::new(lab.profile(&mark)?, &Lab::key(&mark))?;
    let sums = measured.par_iter().map(|rows| {
        let open = |marked: bool| -> Result<Session> {
            Ok(marker.session(&SessionOptions { marked, sampling: SAMPLING, ..SessionOptions::default() })?)
        };
        let (mut marked, mut plain) = (open(true)?, open(false)?);
        let mut sum = 0.0;
        for ((row, proxy), &token) in rows.teacher.iter().zip(&rows.proxy).zip(&rows.tokens) {
            let next_probabilities = |session: &mut Session| -> Result<Vec<f64>> {
                let mut row = row.clone();
                session.set_proxy(proxy)?;
                session.process(&mut row)?;
                session.accept(token)?;
                Ok(probabilities(&row))
            };
            let (p, q) = (next_probabilities(&mut marked)?, next_probabilities(&mut plain)?);
            sum += p.iter().zip(&q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
        }
        Ok::<(f64, usize), anyhow::Error>((sum, rows.tokens.len()))
    });
    let (sum, n) = sums.try_reduce(|| (0.0, 0), |a, b| Ok((a.0 + b.0, a.1 + b.1)))?;
    Ok(sum / n.max(1) as f64)
}

fn probabilities(row: &[f32]) -> Vec<f64> {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights: Vec<f64> = row.iter().map(|&logit| (f64::from(logit) - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}
