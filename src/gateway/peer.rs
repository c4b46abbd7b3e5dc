//! Who the client is behind proxies, and what it asked for before they passed it on.
//!
//! `Forwarded` and `X-Forwarded-For`, `-Proto`, `-Host` are believed only from proxies that the
//! configuration trusts: anybody can write a header. From our own connection backwards, each
//! address that a trusted proxy names is the next; the first that is not trusted is the client.
//!
//! A proxy usually writes one of the two kinds and passes the other on as the client sent it. Where
//! both are there and name different clients, nobody can tell which is forged, and the proxy itself
//! counts as the client.
//!
//! Reference: RFC 7239; "Client address" of the conventions' reference.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, header};

/// The networks whose word on forwarding is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies(Vec<Network>);

/// A network in CIDR notation; a lone address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| error())?
            }
            Some(_) => return Err(error()),
            None => widest,
        };
        if prefix > widest {
            return Err(error());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                let cut = |it: Ipv4Addr| it.to_bits().checked_shr(shift).unwrap_or(0);
                cut(own) == cut(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                let cut = |it: Ipv6Addr| it.to_bits().checked_shr(shift).unwrap_or(0);
                cut(own) == cut(other)
            }
            _ => false,
        }
    }
}

/// The client of a request, as far as it can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client<'h> {
    /// Its address; the port is 0 where a proxy names none.
    pub address: SocketAddr,
    /// The scheme that it used, lower case, where a trusted proxy says so.
    pub scheme: Option<&'static str>,
    /// The host (and port) that it asked for, where a trusted proxy says so.
    pub host: Option<&'h str>,
}

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Returns the client of a request that came over a connection from `remote`.
    pub fn client<'h>(&self, remote: SocketAddr, headers: &'h HeaderMap) -> Client<'h> {
        // An IPv4 client of an IPv6 socket is still an IPv4 client.
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let unknown = Client {
            address: remote,
            scheme: None,
            host: None,
        };
        if !self.trusts(remote.ip()) {
            return unknown;
        }
        let standard = self.forwarded(remote, headers);
        let customary = self.x_forwarded(remote, headers);
        match (standard, customary) {
            (Some(standard), Some(customary)) => {
                let is_same = standard.address.ip() == customary.address.ip();
                if is_same { standard } else { unknown }
            }
            (Some(client), None) | (None, Some(client)) => client,
            (None, None) => unknown,
        }
    }

    /// Returns whether what a peer with this address says of a request is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// Reference: RFC 7239, "Forwarded HTTP Header Field".
    fn forwarded<'h>(&self, remote: SocketAddr, headers: &'h HeaderMap) -> Option<Client<'h>> {
        let mut client = None;
        for element in elements(headers, header::FORWARDED.as_str()) {
            let so_far = client.get_or_insert(Client {
                address: remote,
                scheme: None,
                host: None,
            });
            if !self.trusts(so_far.address.ip()) {
                break;
            }
            let parameter = |name: &str| {
                element.split(';').find_map(|pair| {
                    let (key, value) = pair.split_once('=')?;
                    let value = value.trim().trim_matches('"');
                    key.trim().eq_ignore_ascii_case(name).then_some(value)
                })
            };
            so_far.scheme = parameter("proto").and_then(scheme);
            so_far.host = parameter("host");
            // `unknown` and `_hidden` end the trace at the proxy that says so.
            let Some(address) = parameter("for").and_then(node) else {
                break;
            };
            so_far.address = address;
        }
        client
    }

    fn x_forwarded<'h>(&self, remote: SocketAddr, headers: &'h HeaderMap) -> Option<Client<'h>> {
        let mut address = remote;
        let mut hops = 0;
        for element in elements(headers, "x-forwarded-for") {
            if !self.trusts(address.ip()) {
                break;
            }
            let Some(next) = node(element) else { break };
            address = next;
            hops += 1;
        }
        // Those that keep a list keep it in step with the addresses; those that do not, say it once.
        let in_step = |name| elements(headers, name).take(hops.max(1)).last();
        let client = Client {
            address,
            scheme: in_step("x-forwarded-proto").and_then(scheme),
            host: in_step("x-forwarded-host"),
        };
        let says_anything = hops > 0 || client.scheme.is_some() || client.host.is_some();
        says_anything.then_some(client)
    }
}

/// The elements of a header that may be repeated, the last (which is the nearest proxy's) first.
fn elements<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    // A quoted comma would split an element here; neither addresses nor hosts have one.
    let lines = headers.get_all(name).into_iter().rev();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.rsplit(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(text))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<SocketAddr>().ok().or_else(|| {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let ip: IpAddr = bare.unwrap_or(text).parse().ok()?;
        Some(SocketAddr::new(ip, 0))
    })?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn client(remote: &str, trusted: &[&str], lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let proxies = TrustedProxies::new(trusted.iter().map(|text| text.parse().unwrap()));
        let client = proxies.client(remote.parse().unwrap(), &headers);
        let scheme = client.scheme.unwrap_or("-");
        let host = client.host.unwrap_or("-");
        format!("{} {scheme} {host}", client.address)
    }

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let lines = [
            ("forwarded", "for=1.2.3.4;proto=https;host=evil"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(client("192.0.2.1:9", &PROXIES, &lines), "192.0.2.1:9 - -");
        assert_eq!(client("10.0.0.1:9", &[], &lines), "10.0.0.1:9 - -");
    }

    #[test]
    fn the_first_address_that_is_not_trusted_is_the_client() {
        for (list, expected) in [
            ("192.0.2.7", "192.0.2.7:0 - -"),
            ("1.1.1.1, 192.0.2.7", "192.0.2.7:0 - -"),
            ("1.1.1.1, 192.0.2.7:5000, 10.0.0.2", "192.0.2.7:5000 - -"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0 - -"),
            ("192.0.2.7, unknown", "10.0.0.1:9 - -"),
            ("192.0.2.7, nonsense, 10.0.0.2", "10.0.0.2:0 - -"),
            ("2001:db8::1", "[2001:db8::1]:0 - -"),
            ("[2001:db8::1]:80, fd00::5", "[2001:db8::1]:80 - -"),
            ("::ffff:192.0.2.7", "192.0.2.7:0 - -"),
            (" , ", "10.0.0.1:9 - -"),
        ] {
            let lines = [("x-forwarded-for", list)];
            assert_eq!(client("10.0.0.1:9", &PROXIES, &lines), expected, "{list}");
        }
        let lines = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(client("10.0.0.1:9", &PROXIES, &lines), "192.0.2.7:0 - -");
    }

    #[test]
    fn the_standards_header_says_the_same_and_more() {
        for (list, expected) in [
            (
                "for=192.0.2.7;proto=https;host=a.example:8443",
                "192.0.2.7:0 https a.example:8443",
            ),
            (
                "For=\"[2001:db8::1]:80\" ; Proto=HTTPS",
                "[2001:db8::1]:80 https -",
            ),
            (
                "for=1.1.1.1;proto=http, for=192.0.2.7;proto=https, for=10.0.0.2;proto=http",
                "192.0.2.7:0 https -",
            ),
            ("for=_hidden;proto=https", "10.0.0.1:9 https -"),
            ("proto=gopher;for=192.0.2.7", "192.0.2.7:0 - -"),
        ] {
            let lines = [("forwarded", list)];
            assert_eq!(client("10.0.0.1:9", &PROXIES, &lines), expected, "{list}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_own_hop() {
        let list = [
            ("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.0.0.2"),
            ("x-forwarded-proto", "gopher, https, http"),
            ("x-forwarded-host", "evil, a.example, inner"),
        ];
        assert_eq!(
            client("10.0.0.1:9", &PROXIES, &list),
            "192.0.2.7:0 https a.example"
        );
        let once = [
            ("x-forwarded-for", "192.0.2.7, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(client("10.0.0.1:9", &PROXIES, &once), "192.0.2.7:0 https -");
        let alone = [("x-forwarded-proto", "https")];
        assert_eq!(client("10.0.0.1:9", &PROXIES, &alone), "10.0.0.1:9 https -");
    }

    #[test]
    fn headers_that_contradict_each_other_are_not_believed() {
        let forged = [
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(client("10.0.0.1:9", &PROXIES, &forged), "10.0.0.1:9 - -");
        let agreeing = [
            ("forwarded", "for=192.0.2.7;proto=https"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(
            client("10.0.0.1:9", &PROXIES, &agreeing),
            "192.0.2.7:0 https -"
        );
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_recognised() {
        let lines = [("x-forwarded-for", "192.0.2.7")];
        assert_eq!(
            client("[::ffff:10.0.0.1]:9", &PROXIES, &lines),
            "192.0.2.7:0 - -"
        );
    }

    #[test]
    fn networks_are_read_strictly() {
        for good in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "192.0.2.1",
            "2001:db8::/32",
        ] {
            good.parse::<Network>().unwrap();
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "localhost",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let everything: Network = "0.0.0.0/0".parse().unwrap();
        assert!(everything.contains([255, 1, 2, 3].into()));
        let one: Network = "192.0.2.1".parse().unwrap();
        assert!(one.contains([192, 0, 2, 1].into()) && !one.contains([192, 0, 2, 0].into()));
    }
}
