//! Whether a program can work on the schema that a ledger has: on its own, and, while an upgrade rolls through, on that of a
//! later version.
//!
//! Migrations expand: they add tables, and columns with defaults, which programs of the version before do not miss. One that
//! takes something away says in its name which programs still work: `m0009_drop_x_needs_0007` those that know m0007.

use std::fmt;

use orchestrator_common::ledger::Ledger;
use sea_orm::{DatabaseConnection, DbErr, EntityTrait};
use sea_orm_migration::{MigratorTrait, SchemaManager, seaql_migrations};

use crate::Migrator;

/// How the schema of a ledger stands to this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is this program's, or a later one's that this program can work on.
    Workable {
        /// Migrations that were applied and that this program does not know.
        later: Vec<String>,
    },
    /// Migrations of this program are missing.
    Behind {
        /// They.
        missing: Vec<String>,
    },
    /// It is a later version's, which this program cannot work on.
    Unworkable(TooNew),
}

/// The ledger was changed by a later version in a way that this program cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ledger has the migration {migration}, which this version does not know and cannot work with: start the version \
     that applied it, or a later one"
)]
pub struct TooNew {
    /// The migration.
    pub migration: String,
}

/// Why a schema could not be brought up to date or taken back.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The ledger does not answer, or refused a migration.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// It was changed by a later version.
    #[error(transparent)]
    TooNew(#[from] TooNew),
    /// It was changed by a later version that left out migrations of this one, or has to be asked first.
    #[error(
        "the ledger has migrations of a later version ({}): use that version's orchestrator-migrate",
        .0.join(", ")
    )]
    Later(Vec<String>),
}

/// A migration's name and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: State,
}

/// What became of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is known and applied.
    Applied,
    /// It is known and not applied.
    Pending,
    /// It is applied and not known: a later version's.
    Later,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Later => "later",
        })
    }
}

/// How the schema of `ledger` stands to this program.
///
/// # Errors
/// When it does not answer.
pub async fn standing(ledger: &Ledger) -> Result<Standing, DbErr> {
    Ok(judge(&known(), &applied(ledger.connection()).await?))
}

/// Every migration that this program knows or the ledger has, oldest first.
///
/// # Errors
/// When it does not answer.
pub async fn list(ledger: &DatabaseConnection) -> Result<Vec<Entry>, DbErr> {
    let (known, applied) = (known(), applied(ledger).await?);
    let state = |name: &String| {
        if applied.contains(name) {
            State::Applied
        } else {
            State::Pending
        }
    };
    let own = known.iter().map(|name| (name.clone(), state(name)));
    let later = without(&applied, &known).into_iter();
    let mut all: Vec<_> = own
        .chain(later.map(|name| (name, State::Later)))
        .map(|(name, state)| Entry { name, state })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// Applies every migration that is missing. A schema of a later version that this program can work on is left as it is.
///
/// # Errors
/// When the ledger does not take a migration, or has those of a later version that this program cannot work on or add to.
pub async fn bring_up(ledger: &DatabaseConnection) -> Result<(), SchemaError> {
    let (known, applied) = (known(), applied(ledger).await?);
    let later = without(&applied, &known);
    match judge(&known, &applied) {
        Standing::Unworkable(too_new) => Err(too_new.into()),
        Standing::Workable { .. } => Ok(()),
        Standing::Behind { .. } if later.is_empty() => Ok(Migrator::up(ledger, None).await?),
        Standing::Behind { .. } => Err(SchemaError::Later(later)),
    }
}

/// Takes the latest `steps` migrations back.
///
/// # Errors
/// When the ledger does not answer, or has migrations of a later version, which only that can take back.
pub async fn take_back(ledger: &DatabaseConnection, steps: u32) -> Result<(), SchemaError> {
    let later = without(&applied(ledger).await?, &known());
    if !later.is_empty() {
        return Err(SchemaError::Later(later));
    }
    Ok(Migrator::down(ledger, Some(steps)).await?)
}

fn known() -> Vec<String> {
    let all = Migrator::migrations();
    all.iter().map(|one| one.name().to_owned()).collect()
}

/// The names of the migrations that a ledger has; none when it was never migrated.
async fn applied(ledger: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let table = Migrator::migration_table_name().to_string();
    if !SchemaManager::new(ledger).has_table(&table).await? {
        return Ok(Vec::new());
    }
    let rows = seaql_migrations::Entity::find().all(ledger).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

fn judge(known: &[String], applied: &[String]) -> Standing {
    let newest = known.iter().filter_map(|name| number(name)).max();
    let later = without(applied, known);
    let unworkable = later.iter().find(|name| match needs(name) {
        Needs::Nothing => false,
        Needs::Knowing(needed) => newest < Some(needed),
        Needs::Unclear => true,
    });
    if let Some(migration) = unworkable {
        return Standing::Unworkable(TooNew {
            migration: migration.clone(),
        });
    }
    let missing = without(known, applied);
    if missing.is_empty() {
        Standing::Workable { later }
    } else {
        Standing::Behind { missing }
    }
}

/// Those of `names` that are not among `others`.
fn without(names: &[String], others: &[String]) -> Vec<String> {
    let lacking = names.iter().filter(|name| !others.contains(name));
    lacking.cloned().collect()
}

/// What a migration asks of programs that do not know it.
enum Needs {
    /// Nothing: it only adds.
    Nothing,
    /// That they know the migration with this number.
    Knowing(u32),
    /// Its name is none that this project gives.
    Unclear,
}

fn needs(name: &str) -> Needs {
    if number(name).is_none() {
        return Needs::Unclear;
    }
    match name.rsplit_once("_needs_") {
        None => Needs::Nothing,
        Some((_, needed)) => needed.parse().map_or(Needs::Unclear, Needs::Knowing),
    }
}

/// The number in a name such as `m0001_ledger`.
fn number(name: &str) -> Option<u32> {
    let (number, rest) = name.strip_prefix('m')?.split_once('_')?;
    let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    number
        .parse()
        .ok()
        .filter(|_| is_number && !rest.is_empty())
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
