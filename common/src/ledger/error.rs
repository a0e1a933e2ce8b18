//! Why the ledger did not do what it was asked.

use sea_orm::{DbErr, RuntimeErr};

/// A failed ledger operation. Nothing of it was committed, unless the connection broke during the commit itself.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It could not be reached, is full or read-only, or gave up in the middle: trying again later may help.
    #[error("the ledger does not take it now: {0}")]
    Unavailable(#[source] DbErr),
    /// It will never take this data, however often it is tried.
    #[error("the ledger refuses the data: {0}")]
    Unacceptable(#[source] DbErr),
    /// It holds something that this version does not understand.
    #[error("the ledger holds something unexpected: {0}")]
    Corrupt(String),
}

impl From<DbErr> for LedgerError {
    fn from(error: DbErr) -> Self {
        let code = match &error {
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => error
                .as_database_error()
                .and_then(|error| error.code())
                .map(std::borrow::Cow::into_owned),
            _ => None,
        };
        if code.is_some_and(|code| is_about_the_data(&code)) {
            Self::Unacceptable(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// PostgreSQL: the classes of data exceptions, violated constraints and exceeded limits. SQLite: too big, constraint,
/// mismatch (the low byte of an extended code).
fn is_about_the_data(code: &str) -> bool {
    if code.len() == 5 {
        return matches!(&code[..2], "22" | "23" | "54");
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_can_be_waited_out_and_bad_data_cannot() {
        for transient in ["53100", "25006", "40P01", "57P01", "13", "8", "5"] {
            assert!(!is_about_the_data(transient), "{transient}");
        }
        for lasting in ["22021", "22P05", "23505", "54000", "18", "19", "1555"] {
            assert!(is_about_the_data(lasting), "{lasting}");
        }
    }
}
