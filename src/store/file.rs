//! A redb file: made whole or not at all, checked when it is opened, and used by one process.
//!
//! redb survives the end of a process at any moment but one: a file whose very first bytes were
//! being written is no redb file yet, and is refused from then on. So a new one is made beside its
//! place and moved there when it is complete.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition};

/// What a file tells of itself. Its type is the same in every format.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The member of [`META`] with the number of the file's format.
const FORMAT: &str = "format";

/// Most memory for pages of the file: what is served is held elsewhere.
const CACHE_BYTES: usize = 8 << 20;

/// Why a store cannot be opened. Each says of which file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refuses.
    #[error("cannot open the store {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Another process has it open, or this one has already.
    #[error(
        "the store {} is in use by another process; every gateway needs a file of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the program made it.
    #[error(
        "the store {} has format {found}, of a later version of wampgate; this one knows format {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that is known.
        known: u64,
    },
    /// It is no store, or has been damaged. It is left as it is.
    #[error(
        "the store {} is damaged or no store: {reason}; bring it back from a backup, or move it away to begin with an empty one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl OpenError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Words a failure of redb.
    pub(super) fn redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            // What is read past the end of a file that was cut off, and what redb says of another
            // program's file.
            redb::Error::Io(source)
                if !matches!(
                    source.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Io { path, source }
            }
            error => Self::Damaged {
                path,
                reason: error.to_string(),
            },
        }
    }
}

/// Makes a folder, and those above it, for what only this user may read. One that is there already
/// stays as it is.
///
/// # Errors
///
/// The system's.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file, or makes one. Blocks.
pub(super) fn open(path: &Path, format: u64) -> Result<Database, OpenError> {
    let new = path.with_added_extension("new");
    let at_path = || OpenOptions::new().read(true).write(true).open(path);
    let file = match at_path() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(database) = create(path, &new, format)? {
                return Ok(database);
            }
            at_path()
        }
        other => other,
    };
    let database = open_existing(path, file.map_err(OpenError::io(path))?, format)?;
    // Of a process that ended while it made the file that another one made then.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(OpenError::io(&new)(error)),
        _ => Ok(database),
    }
}

/// Makes a file; none where another process has made it meanwhile.
fn create(path: &Path, new: &Path, format: u64) -> Result<Option<Database>, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(new)
        .map_err(OpenError::io(new))?;
    // The lock that redb takes too. It is needed before, since what a dead process left has to go,
    // and a living one's must not.
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        let path = path.to_owned();
        return Err(OpenError::InUse { path });
    }
    if path.exists() {
        return Ok(None);
    }
    file.set_len(0).map_err(OpenError::io(new))?;
    let backend = FileBackend::new(file).map_err(|error| OpenError::redb(path, error.into()))?;
    let database = initialize(backend, format).map_err(|error| OpenError::redb(path, error))?;
    fs::rename(new, path).map_err(OpenError::io(path))?;
    // Else a power cut could take the name away again.
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(OpenError::io(path))?;
    Ok(Some(database))
}

/// Begins an empty store of the format.
pub(super) fn initialize(
    backend: impl StorageBackend,
    format: u64,
) -> Result<Database, redb::Error> {
    let database = builder().create_with_backend(backend)?;
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT, format)?;
    transaction.commit()?;
    Ok(database)
}

fn open_existing(path: &Path, file: File, format: u64) -> Result<Database, OpenError> {
    let metadata = file.metadata().map_err(OpenError::io(path))?;
    // redb would take an empty file for a new one.
    if metadata.len() == 0 {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            reason: "it is empty".to_owned(),
        });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            store.file = %path.display(),
            "the store {} holds secrets and is open to other users: `chmod 600` it",
            path.display()
        );
    }
    let was_closed = was_closed(&file).map_err(OpenError::io(path))?;
    let backend = FileBackend::new(file).map_err(|error| OpenError::redb(path, error.into()))?;
    let opened = builder().create_with_backend(backend);
    let database = opened.map_err(|error| OpenError::redb(path, error.into()))?;
    let found = format_of(&database).map_err(|error| match error {
        redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => {
            OpenError::Damaged {
                path: path.to_owned(),
                reason: "it is the file of another program".to_owned(),
            }
        }
        error => OpenError::redb(path, error),
    })?;
    if !was_closed {
        tracing::info!(
            store.file = %path.display(),
            "the store {} had not been closed: it is checked and in order",
            path.display()
        );
    }
    match found {
        Some(found) if found > format => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: format,
        }),
        Some(_) => Ok(database),
        None => Err(OpenError::redb(
            path,
            redb::Error::Corrupted("it does not say its format".to_owned()),
        )),
    }
}

/// Whether the last process that used the file has closed it. redb's repair callback does not tell:
/// it is called at each check. Its documentation does, in "File format": bit 1 of the byte behind
/// the magic number is `recovery_required`.
fn was_closed(file: &File) -> io::Result<bool> {
    let mut head = [0; 10];
    let read = file.read_at(&mut head, 0)?;
    Ok(read < head.len() || head[9] & 2 == 0)
}

fn format_of(database: &Database) -> Result<Option<u64>, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get(FORMAT)?.map(|format| format.value()))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // Reads all of the file, which is small: a page that has been damaged since is found now,
    // while an older file can still take its place, and not by a later write.
    builder.set_check_integrity_on_open(true);
    builder
}
