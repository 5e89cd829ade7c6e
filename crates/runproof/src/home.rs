//! `RUNPROOF_HOME`: the log key, the local trust file and the last checkpoint, on another medium than the database.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::note::{Note, NoteSigner};
use runproof_proof::trust::Trust;
use runproof_store::Notary;
use runproof_store::sqlite::OpenError;

use crate::app::Database;
use crate::error::{AppError, Code};
use crate::runtime;

/// The folder.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// The folder at this path; nothing is created.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Private key of the log.
    pub fn key_path(&self) -> PathBuf {
        self.folder.join("log.key")
    }

    /// Trust in the local log key.
    pub fn trust_path(&self) -> PathBuf {
        self.folder.join("trust.json")
    }

    /// The newest checkpoint that was signed here.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.join("last-checkpoint")
    }

    /// Makes the folder, the key and the trust file where they are missing. Answers whether it made the key.
    ///
    /// # Errors
    /// [`AppError`] when a file cannot be written.
    pub fn create(&self, origin: &str) -> Result<bool, AppError> {
        // Private: the folder holds the key, and the database holds what the runs saw.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| cannot("create", &self.folder, &error))?;
        // Whoever does the same at the same time is waited for, and finds the key.
        let _alone = lock(&self.folder)?;
        let path = self.key_path();
        if path.exists() {
            // Whoever was stopped between the two files gets the second one now.
            if !self.trust_path().exists() {
                self.write_trust(&self.signer()?)?;
            }
            return Ok(false);
        }
        let signer = NoteSigner::from_seed(origin, &runtime::random()).map_err(|error| {
            AppError::new(Code::InitOrigin, format!("`{origin}` cannot name a log: {error}"))
                .hint("a host and path, such as example.com/agents")
        })?;
        write_durably(&path, signer.to_private_text().as_bytes(), 0o600)?;
        self.write_trust(&signer)?;
        Ok(true)
    }

    /// One key signs one history: a home that has signed does not begin another one, and a database keeps its key.
    /// `ledger` is the key of the ledger that is in `database`, if there is one.
    ///
    /// # Errors
    /// [`AppError`]: nothing may be made.
    pub fn check_ledger(&self, ledger: Option<String>, database: &Database) -> Result<(), AppError> {
        let Some(ledger) = ledger else {
            if !self.checkpoint_path().exists() {
                return Ok(());
            }
            let home = self.folder.display();
            let message = format!("`{home}` has signed a ledger that is not in `{database}`, nothing was made");
            return Err(AppError::new(Code::InitLedgerMissing, message)
                .hint("put the database back, or begin anew in another RUNPROOF_HOME"));
        };
        let key = self.key_path().exists().then(|| self.signer()).transpose()?.map(|signer| signer.verifier().vkey());
        match key {
            Some(key) if key == ledger => Ok(()),
            key => Err(OpenError::OtherKey { key: key.unwrap_or("missing".to_owned()), ledger }.into()),
        }
    }

    fn write_trust(&self, signer: &NoteSigner) -> Result<(), AppError> {
        write_durably(&self.trust_path(), Trust::file(&[signer.verifier()]).as_bytes(), 0o644)
    }

    /// The key.
    ///
    /// # Errors
    /// [`AppError`] when it is missing or cannot be read.
    pub fn signer(&self) -> Result<NoteSigner, AppError> {
        let path = self.key_path();
        let bytes = fs::read(&path).map_err(|error| cannot("read", &path, &error))?;
        NoteSigner::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
            AppError::new(Code::HomeKey, format!("`{}`: {error}", path.display()))
                .hint("put the key file back from a backup: no other key continues this ledger")
        })
    }

    /// The local trust, with the last checkpoint as a known head.
    ///
    /// # Errors
    /// [`AppError`] when the file is missing or cannot be read.
    pub fn trust(&self) -> Result<Trust, AppError> {
        let path = self.trust_path();
        let bytes = fs::read(&path).map_err(|error| cannot("read", &path, &error))?;
        let mut trust = Trust::parse("local", &bytes).map_err(|error| {
            AppError::new(Code::TrustInvalid, format!("`{}`: {error}", path.display()))
                .hint("put the trust file back from a backup; the key in it is the one that `runproof key show` prints")
        })?;
        if let Some(note) = self.kept()? {
            trust.add_head(&note).map_err(|error| self.bad_checkpoint(&error))?;
        }
        Ok(trust)
    }

    /// The newest checkpoint that was signed here, if any was.
    fn kept(&self) -> Result<Option<Vec<u8>>, AppError> {
        let path = self.checkpoint_path();
        match fs::read(&path) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("read", &path, &error)),
        }
    }

    fn bad_checkpoint(&self, problem: &dyn Display) -> AppError {
        let message = format!("`{}`: {problem}", self.checkpoint_path().display());
        AppError::new(Code::HomeCheckpoint, message)
            .hint("put the file back from a backup: without it nobody here can tell an older database")
    }

    /// A notary with the key of this folder.
    ///
    /// # Errors
    /// As [`Home::signer`]; and when the last checkpoint cannot be read or is not by this key: going on without it could
    /// sign a second history.
    pub fn notary(&self) -> Result<Box<dyn Notary>, AppError> {
        let signer = self.signer()?;
        if let Some(note) = self.kept()? {
            let mut own = Trust::in_key("local", signer.verifier());
            own.add_head(&note).map_err(|error| self.bad_checkpoint(&error))?;
        }
        Ok(Box::new(HomeNotary { signer, path: self.checkpoint_path() }))
    }
}

struct HomeNotary {
    signer: NoteSigner,
    path: PathBuf,
}

impl Notary for HomeNotary {
    fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    fn keep(&self, note: &str, lost: Option<&Checkpoint>) -> Result<(), String> {
        let _alone = lock(self.path.parent().unwrap_or(Path::new("."))).map_err(|error| error.message)?;
        let new = Note::parse(note.as_bytes()).map_err(|error| error.to_string())?;
        let new = Checkpoint::parse(&new.text).map_err(|error| error.to_string())?;
        if self.last().is_some_and(|last| last.size >= new.size && Some(&last) != lost) {
            return Ok(()); // another process of this home was faster
        }
        write_durably(&self.path, note.as_bytes(), 0o644).map_err(|error| error.message)
    }

    fn last(&self) -> Option<Checkpoint> {
        let note = Note::parse(&fs::read(&self.path).ok()?).ok()?;
        let verifier = self.signer.verifier();
        note.signatures.iter().any(|signature| verifier.verifies(&note.text, signature)).then_some(())?;
        Checkpoint::parse(&note.text).ok()
    }

    fn now(&self) -> u64 {
        runtime::now()
    }
}

/// Keeps other processes out of a home as long as the handle lives.
fn lock(folder: &Path) -> Result<File, AppError> {
    let alone = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
    alone.map_err(|error| cannot("lock", folder, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> AppError {
    let missing = error.kind() == ErrorKind::NotFound && what == "read";
    AppError::new(Code::HomeIo, format!("cannot {what} `{}`: {error}", path.display())).hint(if missing {
        "runproof init"
    } else {
        "check the path, the permissions and the disk"
    })
}

/// Replaces a file so that a crash leaves either the old one or the new one.
fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AppError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| cannot("write", path, &error))
}

#[cfg(test)]
mod tests {
    use runproof_proof::hash::Hash;

    use super::*;

    #[test]
    fn an_older_checkpoint_takes_no_newer_ones_place_unless_that_one_was_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        home.create("log.test").unwrap();
        let notary = home.notary().unwrap();
        let head = |size| Checkpoint { origin: "log.test".to_owned(), size, root: Hash([7; 32]) };
        let keep = |size, lost: Option<&Checkpoint>| {
            notary.keep(&head(size).sign(notary.signer()), lost).unwrap();
            notary.last().unwrap().size
        };
        assert_eq!([keep(20, None), keep(30, None), keep(25, None), keep(30, None)], [20, 30, 30, 30]);
        assert_eq!(keep(26, Some(&head(29))), 30, "another one was given up");
        assert_eq!(keep(26, Some(&head(30))), 26);
    }
}
