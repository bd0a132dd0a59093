//! Openings of committed keys, Merkle proofs, proofs of answers and of consistency.

use arbitrary::{Result, Unstructured};
use watermark_core::evidence::TreeHead;
use watermark_core::evidence::commitment::{KeyCommitments, KeyLeaves, KeyOpening};
use watermark_core::evidence::ledger::{AnswerProof, ConsistencyProof, Entry, LedgerKey};
use watermark_core::evidence::merkle::{
    Frontier, Hash, consistency_proof, inclusion_proof, leaf_hash, node_hash, root, verify_consistency,
    verify_inclusion,
};
use watermark_core::key::NodeKey;
use zeroize::Zeroizing;

const PATHS: [&str; 5] = ["epoch/1", "epoch/1/layer/a", "epoch/1/layer/b", "epoch/2", "epoch/2/layer/a"];
const ENTRIES: u64 = 11;
const OLD: u64 = 6;
const PROVED: u64 = 5;
const TIME: &str = "2026-11-25T00:00:00Z";

/// Most leaves of a tree that is made here.
const LEAVES: usize = 20;

fn commitments() -> KeyCommitments {
    let mut all = KeyCommitments::new();
    for (at, path) in PATHS.iter().enumerate() {
        all.add(&node(path), Zeroizing::new([at as u8; 32]), [9; 32], None).unwrap();
    }
    all
}

fn node(path: &str) -> NodeKey {
    NodeKey::root(b"m").descend(&path.parse().unwrap()).unwrap()
}

fn ledger_key() -> LedgerKey {
    LedgerKey::new(&node("ledger/1"))
}

fn entry(index: u64) -> Entry {
    let (answer, account) = (index.to_le_bytes(), format!("account {}", index % 3));
    Entry::new(&ledger_key(), index, &answer, &account, "epoch/1".parse().unwrap(), 1_700_000_000_000 + index)
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| entry(index).leaf()).collect()
}

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead::of_answers(leaves.len() as u64, root(leaves), TIME)
}

/// One file of each kind, and trees.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let all = commitments();
    let leaves = leaves(ENTRIES);
    let proof = |account| AnswerProof::new(&ledger_key(), entry(PROVED), &leaves, account).unwrap().print().unwrap();
    vec![
        all.print().unwrap().to_vec(),
        all.leaves().print().unwrap(),
        all.open(&node(PATHS[1]), &[9; 32]).unwrap().print().unwrap().to_vec(),
        proof(None),
        proof(Some("account 2")),
        ConsistencyProof::new(&leaves, OLD).unwrap().print().unwrap(),
        vec![0x5e; 64],
        (0..=255).collect(),
    ]
}

/// The bytes as each of the files, and as a tree with proofs.
pub fn run(bytes: &[u8]) {
    openings(bytes);
    answers(bytes);
    let mut u = Unstructured::new(bytes);
    let _ = trees(&mut u);
}

fn openings(bytes: &[u8]) {
    if let Ok(leaves) = KeyLeaves::parse(bytes) {
        assert_eq!(leaves.print().expect("what was read can be written"), bytes);
    }
    if let Ok(all) = KeyCommitments::parse(bytes) {
        assert_eq!(&*all.print().expect("what was read can be written"), bytes);
        let _ = all.head(TIME, vec![], vec![]).expect("a head of any leaves");
        if all.leaves().list().len() < 100 {
            for path in PATHS {
                if let Ok(opening) = all.open(&node(path), &[9; 32]) {
                    opening.verify(&all.head(TIME, vec![], vec![]).unwrap()).expect("what was opened verifies");
                }
            }
        }
    }
    if let Ok(opening) = KeyOpening::parse(bytes) {
        assert_eq!(&*opening.print().expect("what was read can be written"), bytes);
        let all = commitments();
        if let Ok(opened) = opening.verify(&all.head(TIME, vec![], vec![]).unwrap()) {
            let (index, _) = opening.inclusion();
            assert_eq!(all.leaves().list().get(index as usize), Some(&opening.leaf()), "another leaf");
            assert_eq!(opened.secret(), node(PATHS[index as usize]).secret());
        }
    }
}

fn answers(bytes: &[u8]) {
    if let Ok(proof) = AnswerProof::parse(bytes) {
        assert_eq!(proof.print().expect("what was read can be written"), bytes);
        let head = head(&leaves(ENTRIES));
        for index in 0..ENTRIES {
            if let Ok(found) = proof.verify(&head, &index.to_le_bytes(), None) {
                assert_eq!((found, index), (&entry(index), PROVED), "another entry, or a salt that nobody gave away");
            }
        }
        for account in ["account 0", "account 1", "account 2", ""] {
            if proof.verify(&head, &PROVED.to_le_bytes(), Some(account)).is_ok() {
                assert_eq!(account, "account 2");
            }
        }
    }
    if let Ok(proof) = ConsistencyProof::parse(bytes) {
        assert_eq!(proof.print().expect("what was read can be written"), bytes);
        let all = leaves(ENTRIES);
        let mut changed = all.clone();
        changed[0] = leaf_hash(b"another");
        for old in 0..=ENTRIES {
            let old = head(&all[..old as usize]);
            let _ = proof.verify(&old, &head(&all));
            assert!(old.size == 0 || proof.verify(&old, &head(&changed)).is_err(), "a changed entry is not seen");
        }
    }
}

/// Proofs of whatever hashes a tree has.
fn trees(u: &mut Unstructured<'_>) -> Result<()> {
    let size = u.int_in_range(1..=LEAVES)?;
    // Few different leaves, so that equal ones meet.
    let leaves = (0..size).map(|_| Ok(leaf_hash(&[u.int_in_range(0..=20)?]))).collect::<Result<Vec<Hash>>>()?;
    let whole = root(&leaves);
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.append(*leaf));
    assert_eq!((frontier.root(), frontier.size()), (whole, size as u64));

    let index = u.int_in_range(0..=size - 1)?;
    let proof = inclusion_proof(&leaves, index).expect("a leaf");
    assert!(verify_inclusion(&leaves[index], index as u64, size as u64, &proof, &whole), "a true proof fails");
    let old = u.int_in_range(0..=size)?;
    let path = consistency_proof(&leaves, old).expect("an older tree");
    assert!(verify_consistency(old as u64, &root(&leaves[..old]), size as u64, &whole, &path), "a true proof fails");

    // Anything that verifies against a true head is true.
    let pool = pool(&leaves);
    let (leaf, proof) = (pick(&pool, u)?, mutated(&pool, proof, u)?);
    let index = if u.ratio(1, 2)? { index as u64 } else { u.arbitrary()? };
    if verify_inclusion(&leaf, index, size as u64, &proof, &whole) {
        assert_eq!(leaves.get(index as usize), Some(&leaf), "a leaf that is not there");
        assert_eq!(inclusion_proof(&leaves, index as usize), Some(proof), "two proofs of one leaf");
    }
    let (old_root, path) = (pick(&pool, u)?, mutated(&pool, path, u)?);
    let old = if u.ratio(1, 2)? { old as u64 } else { u.arbitrary()? };
    if verify_consistency(old, &old_root, size as u64, &whole, &path) {
        assert_eq!(old_root, root(&leaves[..old as usize]), "a tree that this one does not begin with");
    }
    // Sizes are a head's word; no answer may take longer or panic for large ones.
    let (small, large) = (u.arbitrary::<u64>()?, u.arbitrary::<u64>()?);
    let _ = verify_inclusion(&leaf, small, large, &path, &whole);
    let _ = verify_consistency(small, &old_root, large, &whole, &path);
    Ok(())
}

/// Every inner node and leaf of the tree, its root last.
fn pool(leaves: &[Hash]) -> Vec<Hash> {
    let mut all = leaves.to_vec();
    for from in 0..leaves.len() {
        for to in from + 2..=leaves.len() {
            all.push(root(&leaves[from..to]));
        }
    }
    all.push(root(&[]));
    all
}

fn pick(pool: &[Hash], u: &mut Unstructured<'_>) -> Result<Hash> {
    Ok(match u.int_in_range(0..=9)? {
        0 => u.arbitrary()?,
        1 => node_hash(&pool[u.choose_index(pool.len())?], &pool[u.choose_index(pool.len())?]),
        _ => pool[u.choose_index(pool.len())?],
    })
}

fn mutated(pool: &[Hash], mut proof: Vec<Hash>, u: &mut Unstructured<'_>) -> Result<Vec<Hash>> {
    for _ in 0..u.int_in_range(0..=3)? {
        let at = u.int_in_range(0..=proof.len())?;
        match u.int_in_range(0..=2)? {
            0 => proof.insert(at, pick(pool, u)?),
            _ if at == proof.len() => (),
            1 => drop(proof.remove(at)),
            _ => proof[at] = pick(pool, u)?,
        }
    }
    Ok(proof)
}
