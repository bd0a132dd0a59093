//! Merkle trees of RFC 9162, section 2.1: SHA-256, leaves and inner nodes in separate domains.

use sha2::{Digest, Sha256};

/// A SHA-256 digest of a leaf, an inner node or a whole tree.
pub type Hash = [u8; 32];

/// `SHA-256(0x00 || leaf)`.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree over leaf hashes; `SHA-256("")` for none.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The hashes that lead from leaf `index` to the root, lowest first (RFC 9162, 2.1.3.1); `None` if there is no such
/// leaf. Takes time linear in the number of leaves.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut rest, mut index, mut proof) = (leaves, index, Vec::new());
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if index < left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            index -= left.len();
            rest = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` leads from a leaf hash at `index` to the root of a tree of `size` leaves (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut index, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            hash = node_hash(sibling, &hash);
            // A node that is the last of its level without a sibling moves up unchanged.
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The hashes that show that the first `old_size` leaves are the whole tree of that size (RFC 9162, 2.1.4.1); empty for
/// sizes 0 and `leaves.len()`, `None` beyond. Takes time linear in the number of leaves.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old_size: usize) -> Option<Vec<Hash>> {
    if old_size > leaves.len() {
        return None;
    }
    if old_size == 0 {
        return Some(Vec::new());
    }
    // Whether the part looked at began the old tree, so that its root is known to whoever verifies.
    let (mut rest, mut old, mut known, mut proof) = (leaves, old_size, true, Vec::new());
    while old != rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if old <= left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            old -= left.len();
            rest = right;
            known = false;
        }
    }
    if !known {
        proof.push(root(rest));
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that a tree of `new_size` leaves begins with the tree of `old_size` leaves (RFC 9162, 2.1.4.2).
/// Nothing has to be shown for an empty old tree, or for equal ones.
#[must_use]
pub fn verify_consistency(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old_size == 0 || old_size >= new_size {
        let same = old_size == 0 && *old_root == root(&[]) || old_size == new_size && old_root == new_root;
        return same && proof.is_empty();
    }
    let (mut index, mut last) = (old_size - 1, new_size - 1);
    while index & 1 == 1 {
        index >>= 1;
        last >>= 1;
    }
    // A complete old tree is itself the node to start from.
    let (start, rest) = if old_size.is_power_of_two() {
        (*old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        (*first, rest)
    };
    let (mut old, mut new) = (start, start);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *new_root
}

/// A tree that grows leaf by leaf and keeps only the roots of its complete parts: O(log n) hashes, O(1) amortised per leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One for every set bit of `size`, highest first.
    complete: Vec<Hash>,
}

impl Frontier {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its [`leaf_hash`].
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Every trailing one of the old size is a complete part as large as what has been built.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.complete.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.complete.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut parts = self.complete.iter().rev();
        let Some(&last) = parts.next() else { return root(&[]) };
        parts.fold(last, |right, left| node_hash(left, &right))
    }
}

/// The largest power of two below `n`, for n > 1.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Every tree that the tests below look at.
    const SIZES: std::ops::RangeInclusive<usize> = 0..=70;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&(i as u32).to_le_bytes())).collect()
    }

    /// Every proof that differs from `proof` in one bit, one element more or less, or the order of two.
    fn altered(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut out = Vec::new();
        for i in 0..proof.len() {
            let mut bit = proof.to_vec();
            bit[i][i % 32] ^= 1 << (i % 8);
            out.push(bit);
            let mut shorter = proof.to_vec();
            shorter.remove(i);
            out.push(shorter);
            let mut swapped = proof.to_vec();
            swapped.swap(i, (i + 1) % proof.len());
            if swapped != proof {
                out.push(swapped);
            }
        }
        for i in 0..=proof.len() {
            let mut longer = proof.to_vec();
            longer.insert(i, proof.get(i).copied().unwrap_or([7; 32]));
            out.push(longer);
        }
        out
    }

    #[test]
    fn a_growing_tree_has_the_roots_of_whole_ones() {
        let (all, mut frontier) = (leaves(*SIZES.end()), Frontier::new());
        for n in SIZES {
            assert_eq!((frontier.size(), frontier.root()), (n as u64, root(&all[..n])));
            if n < all.len() {
                frontier.append(all[n]);
            }
        }
    }

    #[test]
    fn inclusion_proofs_verify_and_altered_ones_do_not() {
        for n in SIZES {
            let (all, size) = (leaves(n), n as u64);
            let whole = root(&all);
            assert_eq!(inclusion_proof(&all, n), None);
            for (i, leaf) in all.iter().enumerate() {
                let (proof, index) = (inclusion_proof(&all, i).unwrap(), i as u64);
                assert!(verify_inclusion(leaf, index, size, &proof, &whole), "{i} of {n}");
                for bad in altered(&proof) {
                    assert!(!verify_inclusion(leaf, index, size, &bad, &whole), "{i} of {n}: {bad:?}");
                }
                // Another place in the same tree. (Trees of two sizes may share a path's shape: the signed head binds the size.)
                for other in (0..size + 2).filter(|&other| other != index) {
                    assert!(!verify_inclusion(leaf, other, size, &proof, &whole), "{i} of {n} as {other}");
                }
                assert!(!verify_inclusion(&leaf_hash(b"other"), index, size, &proof, &whole));
                assert!(!verify_inclusion(leaf, index, size, &proof, &leaf_hash(b"other")));
            }
        }
    }

    #[test]
    fn consistency_proofs_verify_and_altered_ones_do_not() {
        for n in SIZES {
            let (all, size) = (leaves(n), n as u64);
            let whole = root(&all);
            assert_eq!(consistency_proof(&all, n + 1), None);
            for m in 0..=n {
                let (proof, old_size, old) = (consistency_proof(&all, m).unwrap(), m as u64, root(&all[..m]));
                assert!(verify_consistency(old_size, &old, size, &whole, &proof), "{m} of {n}");
                for bad in altered(&proof) {
                    assert!(!verify_consistency(old_size, &old, size, &whole, &bad), "{m} of {n}: {bad:?}");
                }
                assert!(!verify_consistency(old_size, &leaf_hash(b"other"), size, &whole, &proof), "{m} of {n}");
                assert_eq!(verify_consistency(old_size, &old, size, &leaf_hash(b"other"), &proof), m == 0);
                // A log that rewrote one old entry cannot show that it only grew.
                if m > 0 {
                    let mut rewritten = all.clone();
                    rewritten[m / 2] = leaf_hash(b"rewritten");
                    let proof = consistency_proof(&rewritten, m).unwrap();
                    assert!(!verify_consistency(old_size, &old, size, &root(&rewritten), &proof), "{m} of {n}");
                }
            }
            assert!(!verify_consistency(size + 1, &whole, size, &whole, &[]));
        }
    }

    #[test]
    fn extreme_sizes_end() {
        let (hash, proof) = ([1; 32], vec![[2; 32]; 100]);
        for (index, size) in [(u64::MAX - 1, u64::MAX), (0, u64::MAX), (u64::MAX, u64::MAX), (0, 0)] {
            assert!(!verify_inclusion(&hash, index, size, &proof, &hash));
            assert!(!verify_consistency(index, &hash, size, &hash, &proof));
        }
    }
}
