//! The graph that the dependencies of steps make.

/// For each step, all that come before it, directly or not.
#[derive(Debug)]
pub(super) struct Ancestors(Vec<Vec<bool>>);

impl Ancestors {
    /// Whether `ancestor` comes before `step`.
    pub(super) fn precedes(&self, ancestor: usize, step: usize) -> bool {
        self.0.get(step).and_then(|before| before.get(ancestor)) == Some(&true)
    }
}

/// The ancestors of every step; or, when the dependencies go round, the steps that are on a cycle or come after one.
///
/// `before` has the direct dependencies of each step.
pub(super) fn ancestors(before: &[Vec<usize>]) -> Result<Ancestors, Vec<usize>> {
    let count = before.len();
    let mut known: Vec<Option<Vec<bool>>> = vec![None; count];
    loop {
        let mut found_one = false;
        for step in 0..count {
            if known[step].is_some() || before[step].iter().any(|parent| known[*parent].is_none()) {
                continue;
            }
            let mut of_step = vec![false; count];
            for parent in &before[step] {
                of_step[*parent] = true;
                for (mine, theirs) in of_step.iter_mut().zip(known[*parent].iter().flatten()) {
                    *mine |= *theirs;
                }
            }
            known[step] = Some(of_step);
            found_one = true;
        }
        if !found_one {
            break;
        }
    }
    let stuck: Vec<usize> = (0..count).filter(|step| known[*step].is_none()).collect();
    if stuck.is_empty() {
        Ok(Ancestors(known.into_iter().flatten().collect()))
    } else {
        Err(on_cycles(before, &stuck))
    }
}

/// Of the steps that no order reaches, those that come before themselves.
fn on_cycles(before: &[Vec<usize>], stuck: &[usize]) -> Vec<usize> {
    let comes_before_itself = |start: &usize| {
        let mut seen = vec![false; before.len()];
        let mut open = before[*start].clone();
        while let Some(step) = open.pop() {
            if step == *start {
                return true;
            }
            if !std::mem::replace(&mut seen[step], true) {
                open.extend(&before[step]);
            }
        }
        false
    };
    stuck.iter().copied().filter(comes_before_itself).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_found_through_others_whatever_the_order() {
        // 0 after 2, 2 after 1, 3 alone.
        let found = ancestors(&[vec![2], vec![], vec![1], vec![]]).unwrap();
        assert!(found.precedes(1, 0) && found.precedes(2, 0) && found.precedes(1, 2));
        assert!(!found.precedes(0, 1) && !found.precedes(3, 0) && !found.precedes(0, 0));
    }

    #[test]
    fn only_steps_on_a_cycle_are_named() {
        // 0 and 1 go round, 2 comes after them, 3 before.
        assert_eq!(
            ancestors(&[vec![1, 3], vec![0], vec![1], vec![]]).unwrap_err(),
            [0, 1]
        );
        assert_eq!(ancestors(&[vec![0]]).unwrap_err(), [0]);
    }
}
