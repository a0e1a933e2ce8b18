//! A temporary folder, gone with its test.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder of one test's own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Folder {
    /// Makes one; `owner` is the user and group that it is given to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(owner: Option<(u32, u32)>) -> io::Result<Self> {
        let name = format!("orchestrator-{}", Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        let folder = Self { path, owner };
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder.path, Some(user), Some(group))?;
        }
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user and group that it was given to.
    #[must_use]
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// The last lines of its file `name`, for a failed test.
    #[must_use]
    pub fn end_of(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(40);
        lines.get(last..).unwrap_or_default().join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
