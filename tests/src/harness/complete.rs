//! Runs of contenders that may lose what they should deliver.

/// The runs that the figures of a rival are made of: those in which nothing was lost, or all runs if there is no such run. Also
/// gives whether the rival may set a target.
#[must_use]
pub fn complete_or_all<R>(runs: Vec<R>, is_complete: impl Fn(&R) -> bool) -> (Vec<R>, bool) {
    let (complete, lossy): (Vec<R>, Vec<R>) = runs.into_iter().partition(is_complete);
    if complete.is_empty() {
        (lossy, false)
    } else {
        (complete, true)
    }
}

#[cfg(test)]
mod tests {
    use super::complete_or_all;

    #[test]
    fn a_rival_is_judged_by_its_complete_runs_and_sets_no_target_without_one() {
        let runs = |shares: &[u32]| complete_or_all(shares.to_vec(), |share| *share == 100);
        assert_eq!(runs(&[100, 73, 100]), (vec![100, 100], true));
        assert_eq!(runs(&[73, 99]), (vec![73, 99], false));
        assert_eq!(runs(&[]), (vec![], false));
    }
}
