/// How far an alignment looks ahead on both sides together. A different tokenisation of a text differs for a word or
/// two at a time.
const APART: usize = 32;

/// How many of the ids that a text was served as are missing after tokenising it again. Both lists are compared from
/// left to right. After a difference the comparison resumes at the nearest place where two neighbouring ids agree on
/// both sides.
pub(super) fn changed(issued: &[u32], made: &[u32]) -> u64 {
    let (mut left, mut right, mut kept) = (0, 0, 0);
    while left < issued.len() && right < made.len() {
        if issued[left] == made[right] {
            (left, right, kept) = (left + 1, right + 1, kept + 1);
            continue;
        }
        let equal = |a: usize, b: usize| {
            let (a, b) = (&issued[issued.len().min(left + a)..], &made[made.len().min(right + b)..]);
            !a.is_empty() && a.first() == b.first() && a.get(1) == b.get(1)
        };
        let near = (1..=APART).find_map(|far| (0..=far).map(|a| (a, far - a)).find(|&(a, b)| equal(a, b)));
        let Some((a, b)) = near else { break };
        (left, right) = (left + a, right + b);
    }
    (issued.len() - kept) as u64
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn issued_ids_that_came_out_otherwise() {
        let issued: Vec<u32> = (0..100).collect();
        assert_eq!(changed(&issued, &issued), 0);
        assert_eq!(changed(&issued, &[]), 100);
        // Two ids became one, and elsewhere one became two.
        let mut made = issued.clone();
        made.splice(10..12, [500]);
        made.splice(50..51, [501, 502]);
        assert_eq!(changed(&issued, &made), 3);
        // The text was cut.
        assert_eq!(changed(&issued, &made[..40]), 61);
        let other: Vec<u32> = (1000..1100).collect();
        assert_eq!(changed(&issued, &other), 100);
    }
}
