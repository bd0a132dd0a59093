//! Sixteen independent ChaCha20 blocks at a time.
//!
//! The rounds are written once over arrays of lanes; the compiler turns them into vector code for the width that the
//! processor has. The only `unsafe` of the crate is the call into the functions compiled for AVX2 and AVX-512, guarded
//! by run-time detection. Every width gives the same words (`rand_chacha` is the reference in the tests).
#![allow(unsafe_code)]

/// Blocks per call.
pub(super) const LANES: usize = 16;

/// Counter and nonce of one block.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) counter: u32,
    pub(super) nonce: [u32; 3],
}

/// Word `w` of block `i` is `result[w][i]`.
pub(super) fn blocks(key: &[u32; 8], jobs: &[Block; LANES]) -> [[u32; LANES]; 16] {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, checked on the line above.
            return unsafe { blocks_avx512(key, jobs) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, checked on the line above.
            return unsafe { blocks_avx2(key, jobs) };
        }
    }
    split::<4>(key, jobs)
}

/// The words of one block.
pub(super) fn one_block(key: &[u32; 8], job: Block) -> [u32; 16] {
    rounds::<1>(key, &[job]).map(|[word]| word)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn blocks_avx512(key: &[u32; 8], jobs: &[Block; LANES]) -> [[u32; LANES]; 16] {
    rounds::<LANES>(key, jobs)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blocks_avx2(key: &[u32; 8], jobs: &[Block; LANES]) -> [[u32; LANES]; 16] {
    split::<8>(key, jobs)
}

/// `N` lanes at a time: as many as keep the 16 state rows in registers.
#[inline(always)]
fn split<const N: usize>(key: &[u32; 8], jobs: &[Block; LANES]) -> [[u32; LANES]; 16] {
    let mut out = [[0; LANES]; 16];
    for (i, part) in jobs.as_chunks::<N>().0.iter().enumerate() {
        for (out, words) in out.iter_mut().zip(rounds::<N>(key, part)) {
            out[i * N..(i + 1) * N].copy_from_slice(&words);
        }
    }
    out
}

#[inline(always)]
fn rounds<const N: usize>(key: &[u32; 8], jobs: &[Block; N]) -> [[u32; N]; 16] {
    let mut start = [[0; N]; 16];
    for (row, constant) in start.iter_mut().zip([0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]) {
        *row = [constant; N];
    }
    for (row, &word) in start[4..12].iter_mut().zip(key) {
        *row = [word; N];
    }
    for (i, job) in jobs.iter().enumerate() {
        start[12][i] = job.counter;
        start[13][i] = job.nonce[0];
        start[14][i] = job.nonce[1];
        start[15][i] = job.nonce[2];
    }
    let mut s = start;
    for _ in 0..10 {
        quarter(&mut s, 0, 4, 8, 12);
        quarter(&mut s, 1, 5, 9, 13);
        quarter(&mut s, 2, 6, 10, 14);
        quarter(&mut s, 3, 7, 11, 15);
        quarter(&mut s, 0, 5, 10, 15);
        quarter(&mut s, 1, 6, 11, 12);
        quarter(&mut s, 2, 7, 8, 13);
        quarter(&mut s, 3, 4, 9, 14);
    }
    for (row, first) in s.iter_mut().zip(&start) {
        add(row, first);
    }
    s
}

#[inline(always)]
fn quarter<const N: usize>(s: &mut [[u32; N]; 16], a: usize, b: usize, c: usize, d: usize) {
    let [mut va, mut vb, mut vc, mut vd] = [s[a], s[b], s[c], s[d]];
    add(&mut va, &vb);
    xor_rotate::<N, 16>(&mut vd, &va);
    add(&mut vc, &vd);
    xor_rotate::<N, 12>(&mut vb, &vc);
    add(&mut va, &vb);
    xor_rotate::<N, 8>(&mut vd, &va);
    add(&mut vc, &vd);
    xor_rotate::<N, 7>(&mut vb, &vc);
    [s[a], s[b], s[c], s[d]] = [va, vb, vc, vd];
}

#[inline(always)]
fn add<const N: usize>(to: &mut [u32; N], from: &[u32; N]) {
    for i in 0..N {
        to[i] = to[i].wrapping_add(from[i]);
    }
}

#[inline(always)]
fn xor_rotate<const N: usize, const R: u32>(to: &mut [u32; N], from: &[u32; N]) {
    for i in 0..N {
        to[i] = (to[i] ^ from[i]).rotate_left(R);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every width that this machine can run, not only the one that dispatch picks.
    #[test]
    fn all_widths_agree() {
        let key = [1, 2, 3, 4, 5, 6, 7, 0xffff_ffff];
        let mut jobs = [Block { counter: 0, nonce: [9, 8, 7] }; LANES];
        for (i, job) in (0..).zip(&mut jobs) {
            *job = Block { counter: i * 77, nonce: [i, i << 20, !i] };
        }
        let reference = split::<1>(&key, &jobs);
        assert_eq!(split::<4>(&key, &jobs), reference);
        assert_eq!(blocks(&key, &jobs), reference);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: checked on the line above.
            assert_eq!(unsafe { blocks_avx2(&key, &jobs) }, reference);
        }
    }
}
