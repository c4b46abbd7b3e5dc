//! Where a bucket is: `nats://user:password@host:4222,host2:4222/bucket?replicas=3&tls=true`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

/// Where NATS listens unless a server is told otherwise.
const DEFAULT_PORT: u16 = 4222;

/// A bucket of NATS JetStream, and how its servers are reached. Read with [`str::parse`].
///
/// `Display` and `Debug` show it without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The servers of the cluster, `host:port` each.
    pub servers: Vec<String>,
    /// The bucket's name.
    pub bucket: String,
    /// How we prove ourselves.
    pub login: Login,
    /// Whether connections have to be encrypted; where a server asks for TLS they are anyhow.
    pub tls: bool,
    /// A file with the certificates of the authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// How many servers keep each document, 1 to 5; none for three in a cluster, else one. Counts
    /// when the bucket is made.
    pub replicas: Option<usize>,
    /// The folder of this gateway's own copy of what it last saw: `data`, unless it is named.
    pub snapshot: PathBuf,
}

/// How we prove ourselves to the servers.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Nobody,
    /// With a name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// With a token.
    Token(String),
}

/// What is wrong with an address. Never shows what may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin with `nats://`.
    #[error("expected `nats://host:4222,host2:4222/bucket`")]
    Scheme,
    /// A server's name or port; by its number, since what is misplaced there may be a password.
    #[error("server {0} is none: expected `host`, `host:port` or `[address]:port`")]
    Server(usize),
    /// There is no bucket, or it has a name that no bucket can have.
    #[error("expected a bucket behind the servers, of letters, digits, `-` and `_`: `/wampgate`")]
    Bucket,
    /// User or password are not percent-encoded UTF-8.
    #[error("the user and password are not UTF-8")]
    Login,
    /// An option behind the `?`.
    #[error(
        "expected the options `tls=true`, `ca=FILE`, `replicas=1` to `5` or `snapshot=FOLDER`, not \
         `{0}`"
    )]
    Option(String),
}

impl Address {
    /// Makes paths, where they are relative, begin at `folder`.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.ca = self.ca.map(|file| folder.join(file));
        self.snapshot = folder.join(self.snapshot);
        self
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("nats://").ok_or(AddressError::Scheme)?;
        // First, so that nothing of a password is taken for what an error shows: it may have any
        // character, what follows has no at sign.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Login::read(login)?, rest),
            None => (Login::Nobody, rest),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (servers, bucket) = rest.split_once('/').ok_or(AddressError::Bucket)?;
        let is_sane = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if bucket.is_empty() || !bucket.chars().all(is_sane) {
            return Err(AddressError::Bucket);
        }
        let mut address = Self {
            servers: read_servers(servers)?,
            bucket: bucket.to_owned(),
            login,
            tls: false,
            ca: None,
            replicas: None,
            snapshot: PathBuf::from("data"),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            address.set(option)?;
        }
        Ok(address)
    }
}

impl Address {
    fn set(&mut self, option: &str) -> Result<(), AddressError> {
        let wrong = || AddressError::Option(option.to_owned());
        match option.split_once('=').unwrap_or((option, "true")) {
            ("tls", value) => self.tls = value.parse().map_err(|_| wrong())?,
            ("ca", file) => self.ca = Some(path(file).ok_or_else(wrong)?),
            ("snapshot", folder) => self.snapshot = path(folder).ok_or_else(wrong)?,
            ("replicas", count) => {
                let count = count.parse().ok().filter(|count| (1..=5).contains(count));
                self.replicas = Some(count.ok_or_else(wrong)?);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

fn path(text: &str) -> Option<PathBuf> {
    let path = percent_decode_str(text).decode_utf8().ok()?;
    (!path.is_empty()).then(|| PathBuf::from(&*path))
}

fn read_servers(text: &str) -> Result<Vec<String>, AddressError> {
    let servers = text.split(',').zip(1..);
    let servers = servers.map(|(text, number)| server(text).ok_or(AddressError::Server(number)));
    servers.collect()
}

/// Completes a server with the default port.
fn server(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address of IPv6 are inside brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, DEFAULT_PORT),
    };
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_sane = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_host),
    };
    is_sane.then(|| format!("{host}:{port}"))
}

impl Login {
    fn read(text: &str) -> Result<Self, AddressError> {
        let decode = |text| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from).map_err(|_| AddressError::Login)
        };
        Ok(match text.split_once(':') {
            Some((user, password)) => Login::Password {
                user: decode(user)?,
                password: decode(password)?,
            },
            None => Login::Token(decode(text)?),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match self.login {
            Login::Nobody => "",
            Login::Password { .. } | Login::Token(_) => "***@",
        };
        let servers = self.servers.join(",");
        write!(f, "nats://{login}{servers}/{}", self.bucket)?;
        // Whole paths, where they began is not shown.
        write!(f, "?snapshot={}", show(&self.snapshot))?;
        if self.tls {
            f.write_str("&tls=true")?;
        }
        if let Some(file) = &self.ca {
            write!(f, "&ca={}", show(file))?;
        }
        if let Some(count) = self.replicas {
            write!(f, "&replicas={count}")?;
        }
        Ok(())
    }
}

/// What has a meaning in the options of a URL.
const SPECIAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'&')
    .add(b'?')
    .add(b'#')
    .add(b'@');

fn show(path: &Path) -> impl fmt::Display + '_ {
    percent_encode(path.as_os_str().as_encoded_bytes(), SPECIAL)
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Nobody => "Nobody",
            Login::Password { .. } => "Password(***)",
            Login::Token(_) => "Token(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn servers_are_completed_and_credentials_are_never_shown() {
        assert_eq!(shown("nats://h/b"), "nats://h:4222/b?snapshot=data");
        assert_eq!(
            shown(
                "nats://ann:s3cr/e?t@a:1,[::1]:2,10.0.0.1/wamp-gate_1?replicas=3&tls&ca=x%26.pem"
            ),
            "nats://***@a:1,[::1]:2,10.0.0.1:4222/wamp-gate_1?snapshot=data&tls=true&ca=x%26.pem&replicas=3"
        );
        let address: Address = "nats://t0ken@h/b".parse().unwrap();
        assert_eq!(address.login, Login::Token("t0ken".to_owned()));
        assert_eq!(
            format!("{address:?}"),
            "Address(nats://***@h:4222/b?snapshot=data)"
        );
        assert!(!format!("{:?}", address.login).contains("t0ken"));
    }

    #[test]
    fn user_and_password_are_decoded() {
        let address: Address = "nats://an%40n:a%3Ab@c?/@h/b".parse().unwrap();
        let expected = Login::Password {
            user: "an@n".to_owned(),
            password: "a:b@c?/".to_owned(),
        };
        assert_eq!(address.login, expected);
    }

    #[test]
    fn paths_begin_at_the_folder_of_the_configuration() {
        let url = "nats://h/b?ca=tls/ca.pem&snapshot=/var/lib/wampgate";
        let address: Address = url.parse().unwrap();
        let address = address.relative_to(Path::new("/etc/wampgate"));
        assert_eq!(address.ca, Some(PathBuf::from("/etc/wampgate/tls/ca.pem")));
        assert_eq!(address.snapshot, PathBuf::from("/var/lib/wampgate"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_credentials() {
        assert!(shown("http://h/b").contains("expected `nats://"));
        for text in ["nats://h", "nats://h/", "nats://h/a.b", "nats://h/a b"] {
            assert!(shown(text).contains("expected a bucket"), "{text}");
        }
        for server in ["", "h:x", "h:70000", ":1", "::1", "[::g]:1", "h h", "h,"] {
            let said = shown(&format!("nats://user:s3cret@{server}/b"));
            assert!(
                said.contains("is none: expected `host`"),
                "{server}: {said}"
            );
        }
        assert!(!shown("nats://user:s3cret/b").contains("s3cret"));
        for option in ["replicas=0", "replicas=6", "tls=1", "creds=x"] {
            let said = shown(&format!("nats://h/b?{option}"));
            assert!(said.contains(option), "{said}");
        }
    }
}
