//! Expected against found: the verdict. Two by three, and "could not tell" is never anything but unknown.

use crate::access::{Access, Expected, Verdict};

/// The verdict of one answer.
pub fn compare(expected: Expected, found: Access) -> Verdict {
    match (expected, found) {
        (_, Access::Undetermined(_)) => Verdict::Unknown,
        (Expected::Allowed, Access::Allowed) | (Expected::Denied, Access::Denied(_)) => Verdict::Ok,
        (Expected::Denied, Access::Allowed) => Verdict::UnexpectedGrant,
        (Expected::Allowed, Access::Denied(_)) => Verdict::UnexpectedDenial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{DenyReason, UnknownReason};

    #[test]
    fn the_whole_table() {
        let denials = DenyReason::ALL.iter().map(|why| Access::Denied(*why));
        for found in denials {
            assert_eq!(compare(Expected::Denied, found), Verdict::Ok);
            assert_eq!(compare(Expected::Allowed, found), Verdict::UnexpectedDenial);
        }
        assert_eq!(compare(Expected::Denied, Access::Allowed), Verdict::UnexpectedGrant);
        assert_eq!(compare(Expected::Allowed, Access::Allowed), Verdict::Ok);
        for why in UnknownReason::ALL {
            for expected in Expected::ALL {
                assert_eq!(compare(*expected, Access::Undetermined(*why)), Verdict::Unknown);
            }
        }
    }
}
