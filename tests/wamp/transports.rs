//! The same sessions over every transport, and from one to another.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::Value;
use wampgate::wamp::client::{Call, Client, RegisterOptions, Registration, SubscribeOptions};
use wampgate::wamp::config::{Endpoint, Reconnect, RouterConfig};
use wampgate::wamp::error::{ApplicationError, CallError, SessionError, chain};
use wampgate::wamp::pool::Pool;
use wampgate::wamp::serializer::Serializer;
use wampgate::wamp::transport::{self, ConnectError};

use crate::fake_router::{LONG, args, call, publish};
use crate::peer::{PATIENCE, REALM, config as router_config, router, uri};
use crate::tls::{Authority, Front};

/// A router that listens by every transport.
struct Everywhere {
    router: Router,
    folder: TempDir,
    address: SocketAddr,
    authority: Authority,
    front: Front,
}

impl Everywhere {
    async fn start() -> Self {
        let router = router();
        let address = router.listen("127.0.0.1:0").await.unwrap().local_addr;
        let folder = TempDir::new().unwrap();
        router.listen_unix(&socket(&folder)).await.unwrap();
        let authority = Authority::new("authority");
        let shown = authority.issue("localhost");
        let front = Front::start(&shown, Some(&authority), address).await;
        Self {
            router,
            folder,
            address,
            authority,
            front,
        }
    }

    /// Returns every way in, with whether batches are offered.
    fn ways(&self) -> Vec<RouterConfig> {
        let address = self.address;
        let front = self.front.address.port();
        let ways = [
            (format!("ws://{address}/ws"), false),
            (format!("ws://{address}/ws"), true),
            (format!("tcp://{address}"), false),
            (format!("unix:{}", socket(&self.folder).display()), false),
            (format!("wss://localhost:{front}/ws"), false),
            (format!("wss://localhost:{front}/ws"), true),
            (format!("tcps://localhost:{front}"), false),
        ];
        let tls = self.authority.client();
        let way = |(url, batched): (String, bool)| RouterConfig {
            urls: vec![url.as_str().into()],
            batched,
            tls: tls.clone(),
            connect_timeout: PATIENCE,
            ..RouterConfig::default()
        };
        ways.into_iter().map(way).collect()
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("router.sock")
}

/// Offers `com.example.echo`, which gives back what it gets, and `com.example.fail`.
async fn serve(callee: &Client) -> [Registration; 2] {
    let options = RegisterOptions::default;
    let echo = callee
        .register(&uri("com.example.echo"), options(), |invocation| async {
            Ok(invocation.payload)
        })
        .await
        .unwrap();
    let fail = callee
        .register(&uri("com.example.fail"), options(), |_| async {
            let uri = "com.example.error.no";
            Err(ApplicationError::with_message(uri, "why"))
        })
        .await
        .unwrap();
    [echo, fail]
}

fn echo(argument: Value) -> Call {
    Call {
        payload: args([argument]),
        ..call("com.example.echo")
    }
}

#[tokio::test]
async fn a_session_is_the_same_over_every_transport() {
    let everywhere = Everywhere::start().await;
    for way in everywhere.ways() {
        for serializer in Serializer::ALL {
            let config = RouterConfig {
                serializers: vec![serializer],
                ..way.clone()
            };
            let name = format!("{:?} {serializer:?} {}", config.urls, config.batched);
            let callee = Client::connect(&uri(REALM), &config).await.expect(&name);
            let _registrations = serve(&callee).await;
            let options = SubscribeOptions::default();
            let mut events = callee
                .subscribe(&uri("com.example.topic"), options, 8)
                .await
                .unwrap();
            let caller = Client::connect(&uri(REALM), &config).await.unwrap();
            for argument in [
                Value::from(u64::MAX),
                Value::from("grüße"),
                // Longer than any buffer in between.
                Value::Bytes(vec![0x1e; 200_000].into()),
            ] {
                let result = caller.call(echo(argument.clone())).await.expect(&name);
                assert_eq!(result.payload.args(), [argument], "{name}");
            }
            let error = caller.call(call("com.example.fail")).await.unwrap_err();
            assert!(
                matches!(&error, CallError::Application(error)
                    if error.uri == "com.example.error.no"),
                "{name}: {error:?}"
            );
            let id = caller.publish(publish("com.example.topic")).await.unwrap();
            assert_eq!(events.next().await.unwrap().publication, id.unwrap());
            caller.close(LONG).await;
            assert!(callee.is_open(), "{name}");
            callee.close(LONG).await;
        }
    }
    let socket = socket(&everywhere.folder);
    assert!(socket.exists());
    everywhere.router.shutdown().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_message_that_is_too_long_costs_nobody_the_session() {
    const MAX: usize = 1 << 20;
    let everywhere = Everywhere::start().await;
    for way in everywhere.ways() {
        let name = format!("{:?} {}", way.urls, way.batched);
        let config = RouterConfig {
            max_message_bytes: MAX,
            ..way
        };
        let client = Client::connect(&uri(REALM), &config).await.unwrap();
        let _registrations = serve(&client).await;
        let long = Value::Bytes(vec![0; MAX].into());
        let error = client.call(echo(long)).await.unwrap_err();
        // What a batch adds counts: the router's limit is on the whole of it.
        let expected = if config.batched { MAX - 4 } else { MAX };
        assert!(
            matches!(error, CallError::TooLarge { limit, .. } if limit == expected),
            "{name}: {error:?}"
        );
        // As long as they may be, there and back; the answer is the shorter message.
        let fits = Value::Bytes(vec![7; expected - 200].into());
        let result = client.call(echo(fits.clone())).await.expect(&name);
        assert!(result.payload.args() == [fits], "{name}");
        client.close(LONG).await;
    }
    everywhere.router.shutdown().await;
}

#[tokio::test]
async fn a_routers_own_limit_is_kept_on_rawsocket() {
    let router = Router::new(DevRouterConfig {
        max_message_bytes: 100_000,
        ..router_config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let config = RouterConfig {
        urls: vec![listening.rawsocket_url().as_str().into()],
        ..RouterConfig::default()
    };
    let client = Client::connect(&uri(REALM), &config).await.unwrap();
    let _registrations = serve(&client).await;
    let long = Value::Bytes(vec![0; 1 << 17].into());
    let error = client.call(echo(long)).await.unwrap_err();
    assert!(
        matches!(error, CallError::TooLarge { limit: 131_072, .. }),
        "{error:?}"
    );
    // What it takes and may not pass on is its own affair, and no end of the session either.
    let taken = Value::Bytes(vec![0; 110_000].into());
    let error = client.call(echo(taken)).await.unwrap_err();
    assert!(matches!(error, CallError::Application(_)), "{error:?}");
    let result = client.call(echo(Value::I64(1))).await.unwrap();
    assert_eq!(result.payload.args(), [Value::I64(1)]);
    client.close(LONG).await;
    router.shutdown().await;
}

#[tokio::test]
async fn a_rawsocket_is_not_pinged_and_lives_on() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let config = RouterConfig {
        urls: vec![listening.rawsocket_url().as_str().into()],
        // Many beats pass in this test, and none is waited for.
        heartbeat: Some(Duration::from_millis(1)),
        ..RouterConfig::default()
    };
    let client = Client::connect(&uri(REALM), &config).await.unwrap();
    let _registrations = serve(&client).await;
    for number in 0..200 {
        client.call(echo(Value::I64(number))).await.unwrap();
    }
    assert!(client.is_open());
    client.close(LONG).await;
    router.shutdown().await;
}

#[tokio::test]
async fn a_router_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    let _unix = UnixListener::bind(socket(&folder)).unwrap();
    let authority = Authority::new("authority");
    let config = RouterConfig {
        connect_timeout: Duration::from_millis(50),
        tls: authority.client(),
        ..RouterConfig::default()
    };
    for url in [
        format!("ws://{address}/ws"),
        format!("wss://{address}/ws"),
        format!("tcp://{address}"),
        format!("tcps://{address}"),
        format!("unix:{}", socket(&folder).display()),
    ] {
        let error = transport::connect(&url, &config).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let url = format!("unix:{}", socket(&folder).display());
    let config = RouterConfig {
        urls: vec![url.as_str().into()],
        ..RouterConfig::default()
    };
    let error = Client::connect(&uri(REALM), &config).await.unwrap_err();
    assert!(matches!(error, SessionError::Connect { .. }));
    assert_eq!(
        chain(&error),
        format!("cannot connect to {url}: No such file or directory (os error 2)")
    );
}

#[tokio::test]
async fn a_unix_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (router, callee, _registration) = named("new", &path).await;

    // That one is alive.
    let taken = self::router().listen_unix(&path).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    callee.close(LONG).await;
    router.shutdown().await;

    std::fs::write(&path, "precious").unwrap();
    let taken = self::router().listen_unix(&path).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

/// Listens at a Unix socket and says by `com.example.who` which router it is.
async fn named(name: &'static str, path: &Path) -> (Router, Client, Registration) {
    let router = router();
    router.listen_unix(path).await.unwrap();
    let config = RouterConfig {
        urls: vec![endpoint(path)],
        ..RouterConfig::default()
    };
    let callee = Client::connect(&uri(REALM), &config).await.unwrap();
    let registration = callee
        .register(
            &uri("com.example.who"),
            RegisterOptions::default(),
            move |_| async move { Ok(args([name.into()])) },
        )
        .await
        .unwrap();
    (router, callee, registration)
}

fn endpoint(path: &Path) -> Endpoint {
    Endpoint::from(format!("unix:{}", path.display()).as_str())
}

/// Calls until this router answers; on the way there calls may be lost.
async fn reaches(pool: &Pool, name: &str) {
    let calling = async {
        loop {
            let answer = pool.call(call("com.example.who"), LONG).await;
            if answer.is_ok_and(|result| result.payload.args() == [Value::from(name)]) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, calling).await.expect(name);
}

#[tokio::test]
async fn sessions_go_where_a_router_lives_and_come_back() {
    let folder = TempDir::new().unwrap();
    let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
    // A port where nobody listens.
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let config = RouterConfig {
        urls: vec![
            format!("tcp://{dead}").as_str().into(),
            endpoint(&first),
            format!("ws://{dead}/ws").as_str().into(),
            endpoint(&second),
        ],
        reconnect: Reconnect {
            min: Duration::from_millis(1),
            max: Duration::from_millis(20),
        },
        ..RouterConfig::default()
    };
    let (router, _callee, _registration) = named("a", &first).await;
    let pool = Pool::start(uri(REALM), config);
    reaches(&pool, "a").await;

    let other = named("b", &second).await;
    router.kill().await;
    reaches(&pool, "b").await;

    let again = named("a", &first).await;
    other.0.kill().await;
    reaches(&pool, "a").await;
    again.0.shutdown().await;
    pool.drain(LONG).await;
}
