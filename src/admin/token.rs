//! The admin token: made once, kept in a file that only its owner reads, compared in constant time.
//!
//! There is no default token: at the first start one of 256 random bits is made and written. A file
//! that is there already is used as it is, so that a token can come from elsewhere (a mounted
//! secret); one that is empty or too short to be a secret is refused.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Begins every token that we make, so that scanners of repositories and logs can know one.
const PREFIX: &str = "wgadm_";

/// Random bytes of a token that we make.
const RANDOM_BYTES: usize = 32;

/// Shortest token that is accepted, in bytes: 128 bits in hexadecimal.
const SHORTEST: usize = 32;

/// Longest token that is accepted, in bytes.
const LONGEST: usize = 1024;

/// The secret that a client has to know.
pub struct Token {
    text: String,
    /// Made anew for each token: see [`Token::is`].
    key: hmac::Key,
    tag: hmac::Tag,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is there and cannot be read.
    #[error("cannot read the admin token from {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The file is not there and cannot be made.
    #[error("cannot make the file of the admin token, {}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// What the file holds is no token.
    #[error(
        "{} holds no admin token: {problem}. Remove the file, and a new one is made", .path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without saying what it is.
        problem: &'static str,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl Token {
    /// Makes a new one.
    ///
    /// # Errors
    ///
    /// [`TokenError::NoRandomness`].
    pub fn generate() -> Result<Self, TokenError> {
        let random = SystemRandom::new();
        let mut bytes = [0; RANDOM_BYTES];
        random
            .fill(&mut bytes)
            .map_err(|_| TokenError::NoRandomness)?;
        Self::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// Reads the token from `path`; where there is no such file, makes one with a new token, which
    /// only its owner may read. Folders that are not there are made, for the owner only.
    ///
    /// A file that others may read is used, with a warning in the log.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn at(path: &Path) -> Result<Self, TokenError> {
        if let Some(token) = Self::read(path)? {
            return Ok(token);
        }
        let token = Self::generate()?;
        let unwritable = |cause| TokenError::Unwritable {
            path: path.to_owned(),
            cause,
        };
        if create(path, &token.text).map_err(unwritable)? {
            tracing::info!(
                admin.token_file = %path.display(),
                "made a new admin token: it is in {}", path.display()
            );
            return Ok(token);
        }
        // Another process was faster; it is that one's token now.
        let gone = || unwritable(io::ErrorKind::NotFound.into());
        Self::read(path)?.ok_or_else(gone)
    }

    /// Takes a token that is known, for tests.
    #[cfg(test)]
    pub(super) fn fixed(text: &str) -> Self {
        Self::new(text.to_owned()).expect("random numbers")
    }

    /// Returns the token itself, for whoever is to be told.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns whether `given` is the token.
    ///
    /// How long this takes tells nothing of how much of it is right, nor how long the token is:
    /// what is compared are two keyed hashes, in constant time.
    pub fn is(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }

    fn new(text: String) -> Result<Self, TokenError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| TokenError::NoRandomness)?;
        let tag = hmac::sign(&key, text.as_bytes());
        Ok(Self { text, key, tag })
    }

    /// Returns none where there is no file.
    fn read(path: &Path) -> Result<Option<Self>, TokenError> {
        let unreadable = |cause| TokenError::Unreadable {
            path: path.to_owned(),
            cause,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut text = String::new();
        let mut limited = file.take(LONGEST as u64 + 2);
        let read = limited.read_to_string(&mut text);
        let unusable = |problem| TokenError::Unusable {
            path: path.to_owned(),
            problem,
        };
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(unusable("it is no text"));
            }
            Err(error) => return Err(unreadable(error)),
        }
        let token = text.trim();
        check(token).map_err(unusable)?;
        if mode & 0o077 != 0 {
            tracing::warn!(
                admin.token_file = %path.display(),
                "others may read the admin token in {}: its mode is {:03o}, better is 600",
                path.display(),
                mode & 0o777
            );
        }
        Self::new(token.to_owned()).map(Some)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Reference: RFC 6750, "Authorization Request Header Field", on `b64token`.
fn check(token: &str) -> Result<(), &'static str> {
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() {
        Err("it is empty")
    } else if token.len() < SHORTEST {
        Err("it has less than 32 characters")
    } else if token.len() > LONGEST {
        Err("it has more than 1024 characters")
    } else if !token.bytes().all(is_sane) {
        Err("only letters, digits and `-._~+/=` can be sent as a bearer token")
    } else {
        Ok(())
    }
}

/// Makes the file with all that is to be in it, or returns false where there is one already.
fn create(path: &Path, token: &str) -> io::Result<bool> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Written beside and then linked, so that nobody ever sees half of it, and a process that dies
    // halfway leaves no empty file for the next start to stumble over.
    let beside = folder.join(format!(".admin-token.{}", uuid::Uuid::now_v7()));
    let linked = write_new(&beside, token).and_then(|()| match fs::hard_link(&beside, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some volumes know no links. Two processes that start at once are rarer than those.
        Err(_) => fs::rename(&beside, path).map(|()| true),
    });
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => linked.and(Err(error)),
        _ => {
            // The name is part of the folder, and has to outlast a failure of power as well.
            File::open(folder)?.sync_all()?;
            linked
        }
    }
}

fn write_new(path: &Path, token: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        match Token::at(&path) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => {
                let shown = error.to_string();
                assert!(!shown.contains("swordfish"), "{shown}");
                shown.replace(path.to_str().unwrap(), "FILE")
            }
        }
    }

    #[test]
    fn is_made_once_for_its_owner_alone_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/deep/admin.token");
        let made = Token::at(&path).unwrap();
        assert!(made.reveal().starts_with("wgadm_"), "{}", made.reveal());
        assert_eq!(made.reveal().len(), 6 + 43);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("data")), 0o700);
        let again = Token::at(&path).unwrap();
        assert_eq!(again.reveal(), made.reveal());
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
        assert_ne!(Token::generate().unwrap().reveal(), made.reveal());
        assert_eq!(format!("{made:?}"), "Token(***)");
    }

    #[test]
    fn those_who_start_at_once_agree_on_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| Token::at(&path).unwrap().reveal().to_owned());
            let threads: Vec<_> = (0..8).map(|_| start()).collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.collect()
        });
        let file = fs::read_to_string(&path).unwrap();
        assert!(
            tokens.iter().all(|token| token == file.trim()),
            "{tokens:?}"
        );
    }

    #[test]
    fn only_the_whole_token_is_it() {
        let token = Token::generate().unwrap();
        let text = token.reveal().to_owned();
        assert!(token.is(text.as_bytes()));
        for wrong in [
            "",
            "wgadm_",
            &text[..text.len() - 1],
            &format!("{text}="),
            &text.to_uppercase(),
        ] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let refused = |problem: &str| {
            format!("FILE holds no admin token: {problem}. Remove the file, and a new one is made")
        };
        assert_eq!(problem(b""), refused("it is empty"));
        assert_eq!(problem(b"\n \n"), refused("it is empty"));
        assert_eq!(
            problem(b"swordfish\n"),
            refused("it has less than 32 characters")
        );
        assert_eq!(
            problem(&[b'x'; 2000]),
            refused("it has more than 1024 characters")
        );
        assert_eq!(problem(&[0xff; 40]), refused("it is no text"));
        assert_eq!(
            problem("swordfish swordfish swordfish swordfish".as_bytes()),
            refused("only letters, digits and `-._~+/=` can be sent as a bearer token")
        );
        assert_eq!(problem(&[b'x'; 32]), "accepted");
        assert_eq!(
            problem(b"  0123456789abcdef0123456789abcdef\r\n"),
            "accepted"
        );
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Token::at(folder.path()),
            Err(TokenError::Unreadable { .. })
        ));
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(
            Token::at(&file.join("token")),
            Err(TokenError::Unreadable { .. } | TokenError::Unwritable { .. })
        ));
    }
}
