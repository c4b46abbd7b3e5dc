//! Where a store is: the `url` of `[store]`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::nats::{Address, AddressError};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Url {
    /// In a folder of this machine: `file:data`, `file:/var/lib/wampgate`. See
    /// [`Embedded`](super::embedded::Embedded).
    File(PathBuf),
    /// In a bucket of NATS: `nats://host:4222,host2:4222/bucket`. See [`Nats`](super::nats::Nats).
    Nats(Address),
}

/// Why a text is no URL of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing follows `file:`.
    #[error("no folder is named")]
    NoFolder,
    /// Two slashes begin a host.
    #[error("a folder of another machine cannot be used")]
    Host,
    /// It names no bucket of NATS.
    #[error(transparent)]
    Nats(#[from] AddressError),
    /// It begins with something else than a scheme that is known.
    #[error("unknown scheme")]
    Scheme,
}

impl Url {
    /// Reads a URL. A relative path begins at `folder`. Nothing in the path of a file is escaped.
    ///
    /// # Errors
    ///
    /// See [`UrlError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, UrlError> {
        if text.starts_with("nats:") {
            let address: Address = text.parse()?;
            return Ok(Self::Nats(address.relative_to(folder)));
        }
        let path = text.strip_prefix("file:").ok_or(UrlError::Scheme)?;
        let path = match path.strip_prefix("//") {
            // An empty host is this one: RFC 8089, "Syntax".
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err(UrlError::Host),
            None => path,
        };
        if path.is_empty() {
            return Err(UrlError::NoFolder);
        }
        Ok(Self::File(folder.join(path)))
    }
}

impl Default for Url {
    /// `file:data`.
    fn default() -> Self {
        Self::File("data".into())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Url::File(path) => write!(f, "file:{}", path.display()),
            Url::Nats(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_with_or_without_slashes() {
        let parse = |text| Url::parse(text, Path::new("conf")).map(|url| url.to_string());
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(parse("file:data"), ok("file:conf/data"));
        assert_eq!(parse("file:../a b%20"), ok("file:conf/../a b%20"));
        assert_eq!(parse("file:/var/lib"), ok("file:/var/lib"));
        assert_eq!(parse("file:///var/lib"), ok("file:/var/lib"));
        assert_eq!(parse("file://host/lib"), Err(UrlError::Host));
        assert_eq!(parse("file://data"), Err(UrlError::Host));
        assert_eq!(parse("file:"), Err(UrlError::NoFolder));
        assert_eq!(parse("file://"), Err(UrlError::Host));
        assert_eq!(parse("data"), Err(UrlError::Scheme));
    }

    #[test]
    fn a_bucket_of_nats_has_its_snapshot_where_a_file_would_be() {
        let parse = |text| Url::parse(text, Path::new("conf")).map(|url| url.to_string());
        let url = parse("nats://me:hush@a,b:1/c");
        let shown = "nats://***@a:4222,b:1/c?snapshot=conf/data";
        assert_eq!(url, Ok(shown.to_owned()));
        let error = UrlError::Nats(AddressError::Bucket);
        assert_eq!(parse("nats://a:4222"), Err(error));
    }
}
