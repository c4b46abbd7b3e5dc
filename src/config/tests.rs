use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(file: &str, environment: &[(&str, &str)], flags: &[Override]) -> Result<Config, String> {
    let sources = Sources {
        file: Some((Path::new("conf/wampgate.toml"), file)),
        environment: variables(environment),
        flags: flags.to_vec(),
    };
    match Config::load(&sources) {
        Ok((config, _)) => Ok(config),
        Err(findings) => Err(findings
            .iter()
            .map(|f| f.render(false))
            .collect::<Vec<_>>()
            .join("\n\n")),
    }
}

fn flag(origin: &str, key: &str, value: &str) -> Override {
    Override {
        origin: origin.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn nothing_at_all_is_the_defaults() {
    let (config, warnings) = Config::load(&Sources::default()).unwrap();
    assert!(warnings.is_empty());
    insta::assert_snapshot!(config.to_toml(), @r##"
    [http]
    listen = ["127.0.0.1:18080"]
    trusted_proxies = []
    proxy_protocol = "off"
    header_timeout = "5s"
    idle_timeout = "60s"
    max_connections = 10000
    min_drain = "10s"
    drain_timeout = "30s"

    [admin]
    listen = "127.0.0.1:18081"
    token_file = "data/admin.token"
    allow_remote = false
    allow_calls = false

    [router] # no `urls`: the embedded router, on ws://127.0.0.1:8080/ws
    serializers = ["msgpack", "cbor", "json"]
    batched = false
    sessions = 2
    max_message_bytes = 16777216
    max_in_flight = 1024
    heartbeat = "15s"
    connect_timeout = "8s"
    uri_check = "loose"
    pass_on = ["trace_context"]

    [router.auth]
    method = "anonymous"

    [router.reconnect]
    min = "200ms"
    max = "30s"

    [store]
    url = "file:data"

    [specs]
    dir = "specs"

    [realms]
    dir = "realms"

    [log]
    format = "auto"
    level = "info"

    [telemetry]
    otlp_endpoint = ""
    otlp_headers = []
    sample_ratio = 1.0
    trust_incoming = false
    service_name = "wampgate"
    resource_attributes = []
    "##);
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    let file = "[http]\nlisten = ['127.0.0.1:1']\nidle_timeout = '7s'\nmax_connections = 3\n\
                [specs]\ndir = 'apis'";
    let environment = [
        ("WAMPGATE_HTTP__LISTEN", "127.0.0.1:2, [::1]:3"),
        ("WAMPGATE_HTTP__MAX_CONNECTIONS", "4"),
        ("WAMPGATE_HTTP__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("WAMPGATE_REALMS__DIR", "elsewhere"),
        ("WAMPGATE_CONFIG", "not a setting"),
        ("PATH", "/bin"),
    ];
    let flags = [flag("--listen", "http.listen", "127.0.0.1:9")];
    let config = load(file, &environment, &flags).unwrap();
    assert_eq!(config.http.listen, ["127.0.0.1:9"]);
    assert_eq!(config.http.max_connections, 4);
    let proxies: Vec<_> = config
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(config.http.idle_timeout, Duration::from_secs(7));
    assert_eq!(
        config.specs_dir,
        Path::new("conf/apis"),
        "begins at the file's folder"
    );
    assert_eq!(
        config.realms_dir,
        Path::new("elsewhere"),
        "begins where the program does"
    );
    let config = load(file, &environment, &[]).unwrap();
    assert_eq!(config.http.listen.len(), 2);
}

#[test]
fn a_router_elsewhere_takes_its_secret_from_the_environment_and_never_shows_it() {
    let file = "[router]\nurls = ['ws://router:8080/ws']\nserializers = ['cbor']\n\
                [router.auth]\nmethod = 'ticket'\nauthid = 'gateway'\nsecret = '${TICKET}'";
    let config = load(
        file,
        &[("TICKET", "hush"), ("WAMPGATE_ROUTER__SESSIONS", "5")],
        &[],
    )
    .unwrap();
    let Router::Remote(router) = &config.router else {
        panic!("{:?}", config.router)
    };
    assert_eq!(router.sessions, 5);
    assert_eq!(router.auth.authid(), Some("gateway"));
    assert!(!format!("{config:?} {}", config.to_toml()).contains("hush"));
    // What was printed can be read again.
    load(&config.to_toml(), &[], &[]).unwrap();
}

#[test]
fn the_file_of_a_secret_begins_at_the_folder_of_what_names_it() {
    let file = "[router]\nurls = ['ws://r']\n\
                [router.auth]\nmethod = 'ticket'\nauthid = 'a'\nsecret_file = 'a/ticket'";
    let shown = |environment: &[(&str, &str)]| load(file, environment, &[]).unwrap().to_toml();
    let in_file = shown(&[]);
    assert!(
        in_file.contains("secret_file = \"conf/a/ticket\""),
        "{in_file}"
    );
    let in_variable = shown(&[("WAMPGATE_ROUTER__AUTH__SECRET_FILE", "b/ticket")]);
    assert!(
        in_variable.contains("secret_file = \"b/ticket\""),
        "{in_variable}"
    );
}

#[test]
fn every_finding_comes_at_once_and_names_its_origin() {
    let file = "[http]\nlisten = ['localhost']\nidel_timeout = '5s'\nheader_timeout = '5'\n\
                proxy_protocol = 'required'\ntrusted_proxies = ['10.0.0.0/8', '10.0.0.0/33']\n\
                [router]\nurls = ['unix:router.sock', 'http://router']\nserializers = []\n\
                auth = { method = 'scramm', authid = 'a', secret = 'hush' }\n\
                [https]\nlisten = '127.0.0.1:18443'\n[log]\nlevel = 'inof'\n";
    let environment = [
        ("WAMPGATE_HTTP__MAX_CONNECTIONS", "many"),
        ("WAMPGATE_HTTP__LISTN", "127.0.0.1:1"),
    ];
    let flags = [flag("--listen", "http.drain_timeout", "soon")];
    insta::assert_snapshot!(load(file, &environment, &flags).unwrap_err(), @r##"
    error[D005]: there is no setting `http.listn`
      --> WAMPGATE_HTTP__LISTN
       = did you mean `WAMPGATE_HTTP__LISTEN`?

    error[D008]: expected an address and a port, for example `127.0.0.1:18080` or `[::1]:18080`
      --> conf/wampgate.toml:2:11 at /http/listen/0
       |
     2 | listen = ['localhost']
       |           ^^^^^^^^^^^

    error[D005]: unknown key `idel_timeout`
      --> conf/wampgate.toml:3:1 at /http/idel_timeout
       |
     3 | idel_timeout = '5s'
       | ^^^^^^^^^^^^ did you mean `idle_timeout`?

    error[R303]: `header_timeout`: expected a duration
      --> conf/wampgate.toml:4:18 at /http/header_timeout
       |
     4 | header_timeout = '5'
       |                  ^^^ a number and one of `ms`, `s`, `m`, `h`, for example `"5s"`

    error[D012]: the PROXY protocol is not built yet
      --> conf/wampgate.toml:5:18 at /http/proxy_protocol
       |
     5 | proxy_protocol = 'required'
       |                  ^^^^^^^^^^ it comes with a later version; remove it

    error[D008]: expected a network, for example `10.0.0.0/8`, `fd00::/8` or `127.0.0.1`
      --> conf/wampgate.toml:6:34 at /http/trusted_proxies/1
       |
     6 | trusted_proxies = ['10.0.0.0/8', '10.0.0.0/33']
       |                                  ^^^^^^^^^^^^^

    error[R302]: not a router's URL: the socket's path is not absolute
      --> conf/wampgate.toml:8:9 at /router/urls/0
       |
     8 | urls = ['unix:router.sock', 'http://router']
       |         ^^^^^^^^^^^^^^^^^^ for example `unix:/run/router.sock`

    error[R302]: not a router's URL: unknown scheme `http`
      --> conf/wampgate.toml:8:29 at /router/urls/1
       |
     8 | urls = ['unix:router.sock', 'http://router']
       |                             ^^^^^^^^^^^^^^^ a router's WebSocket is `ws://`, for example `ws://127.0.0.1:8080/ws`

    error[D008]: `serializers`: expected at least one
      --> conf/wampgate.toml:9:15 at /router/serializers
       |
     9 | serializers = []
       |               ^^

    error[D008]: `method`: expected `anonymous` or `ticket` or `wampcra` or `wamp-scram` or `scram` or `cryptosign`
      --> conf/wampgate.toml:10:19 at /router/auth/method
       |
    10 | auth = { method = 'scramm', authid = 'a', secret = ****** }
       |                   ^^^^^^^^ did you mean `scram`?

    error[D012]: `[https]` is not built yet
      --> conf/wampgate.toml:11:1 at /https
       |
    11 | [https]
       | ^^^^^^^ it comes with a later version; remove it

    error[D008]: `level`: expected `off` or `error` or `warn` or `info` or `debug` or `trace`
      --> conf/wampgate.toml:14:9 at /log/level
       |
    14 | level = 'inof'
       |         ^^^^^^ did you mean `info`?

    error[R303]: `drain_timeout`: expected a duration
      --> --listen:1:22 at /http/drain_timeout
       |
     1 | http.drain_timeout = "soon"
       |                      ^^^^^^ a number and one of `ms`, `s`, `m`, `h`, for example `"5s"`

    error[D006]: `max_connections`: found text, expected an integer
      --> WAMPGATE_HTTP__MAX_CONNECTIONS:1:24 at /http/max_connections
       |
     1 | http.max_connections = "many"
       |                        ^^^^^^
    "##);
}

#[test]
fn the_store_of_a_file_begins_at_its_folder() {
    let store = |file: &str, environment: &[(&str, &str)]| {
        let config = load(file, environment, &[])?;
        // What was printed can be read again.
        let again = Config::load(&Sources {
            file: Some((Path::new("wampgate.toml"), &config.to_toml())),
            ..Sources::default()
        });
        assert_eq!(again.unwrap().0.store, config.store);
        Ok::<_, String>(config.store.to_string())
    };
    assert_eq!(store("", &[]).unwrap(), "file:conf/data");
    let file = "[store]\nurl = 'file:a/b'";
    assert_eq!(store(file, &[]).unwrap(), "file:conf/a/b");
    let variable = [("WAMPGATE_STORE__URL", "file:c")];
    assert_eq!(store(file, &variable).unwrap(), "file:c");
    let file = "[store]\nurl = 'file:/var/lib/wampgate'";
    assert_eq!(store(file, &[]).unwrap(), "file:/var/lib/wampgate");
    let file = "[store]\nurl = 'nats://a,b/c?replicas=3'";
    let shown = "nats://a:4222,b:4222/c?snapshot=conf/data&replicas=3";
    assert_eq!(store(file, &[]).unwrap(), shown);
}

#[test]
fn what_is_no_store_is_found() {
    insta::assert_snapshot!(load("[store]\nurl = 'data'", &[], &[]).unwrap_err(), @r"
    error[D008]: `url`: not a store, for example `file:data` or `nats://host:4222/bucket`: unknown scheme
      --> conf/wampgate.toml:2:7 at /store/url
       |
     2 | url = 'data'
       |       ^^^^^^
    ");
    insta::assert_snapshot!(load("[store]\nurl = 'nats://me:hush@a:4222/b/c'", &[], &[]).unwrap_err(), @r"
    error[D008]: `url`: not a store, for example `file:data` or `nats://host:4222/bucket`: expected a bucket behind the servers, of letters, digits, `-` and `_`: `/wampgate`
      --> conf/wampgate.toml:2:7 at /store/url
       |
     2 | url = 'nats://*******@a:4222/b/c'
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn every_setting_can_be_made_by_a_variable() {
    // A key that the reader knows and the table lacks would be a finding for its variable only.
    let key = "ab".repeat(32);
    let mut keys = BTreeSet::new();
    for auth in [
        "method = 'ticket', authid = 'a', secret = 'b'".to_owned(),
        "method = 'ticket', authid = 'a', secret_file = 'b'".to_owned(),
        format!("method = 'cryptosign', private_key = '{key}', router_keys = ['{key}']"),
        "method = 'cryptosign', private_key_file = 'b'".to_owned(),
    ] {
        let tls = "tls = { ca_file = 'a', certificate = 'b', key = 'c', server_name = 'd' }";
        let file = format!(
            "[router]\nurls = ['wss://r']\nauth = {{ {auth} }}\n{tls}\n\
             [telemetry]\notlp_headers_file = 'h'"
        );
        let config = load(&file, &[], &[]).unwrap();
        let printed = Document::parse_toml(None, &config.to_toml()).unwrap();
        collect("", printed.root(), &mut keys);
    }
    for key in &keys {
        assert!(settings::kind(key).is_some(), "{key}");
    }
    assert_eq!(keys.len(), settings::KEYS.len(), "{keys:?}");
}

fn collect(prefix: &str, node: &crate::document::Node, keys: &mut BTreeSet<String>) {
    match node.as_map() {
        Some(members) => {
            for (key, node) in members {
                collect(&format!("{prefix}.{key}"), node, keys);
            }
        }
        None => {
            keys.insert(prefix.trim_start_matches('.').to_owned());
        }
    }
}

#[test]
fn every_setting_is_documented() {
    let text = include_str!("../../docs/operations.md");
    for (key, _) in settings::KEYS {
        let row = match key.strip_prefix("router.") {
            Some(member) => format!("\n| `{}` |", member.split('.').next().unwrap()),
            None => format!("\n| `{key}` |"),
        };
        assert!(
            text.contains(&row),
            "docs/operations.md has no row for {key}"
        );
    }
}

#[test]
fn tls_is_read_and_its_paths_begin_at_the_file() {
    let file = "[router]\nurls = ['tcps://r:8082', 'unix:/run/r.sock']\nbatched = true\n\
                tls = { ca_file = 'tls/ca.pem', certificate = '/etc/cert.pem', key = 'key.pem' }";
    let environment = [
        ("WAMPGATE_ROUTER__TLS__KEY", "other.pem"),
        ("WAMPGATE_ROUTER__TLS__SERVER_NAME", "router.internal"),
        ("WAMPGATE_ROUTER__BATCHED", "false"),
    ];
    let Router::Remote(router) = load(file, &environment, &[]).unwrap().router else {
        panic!("it has URLs");
    };
    let tls = &router.tls;
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("conf/tls/ca.pem")));
    let identity = tls.identity.as_ref().unwrap();
    assert_eq!(identity.certificate, Path::new("/etc/cert.pem"));
    assert_eq!(identity.key, Path::new("other.pem"));
    assert_eq!(tls.server_name.as_deref(), Some("router.internal"));
    assert!(!router.batched);
}

#[test]
fn mistakes_in_tls_are_found() {
    let file = "[router]\nurls = ['ws://r']\nbatched = 'yes'\n\
                [router.tls]\nca_file = ''\ncertificat = 'c'\nkey = 'k'\nserver_name = 'a b'";
    insta::assert_snapshot!(load(file, &[], &[]).unwrap_err(), @r"
    error[D006]: `batched`: found text, expected a boolean
      --> conf/wampgate.toml:3:11 at /router/batched
       |
     3 | batched = 'yes'
       |           ^^^^^

    warning[S217]: `tls` means nothing here: no URL is `wss://` or `tcps://`
      --> conf/wampgate.toml:4:9 at /router/tls
       |
     4 | [router.tls]
       |         ^^^

    error[D008]: `ca_file`: expected a path
      --> conf/wampgate.toml:5:11 at /router/tls/ca_file
       |
     5 | ca_file = ''
       |           ^^

    error[D005]: unknown key `certificat`
      --> conf/wampgate.toml:6:1 at /router/tls/certificat
       |
     6 | certificat = 'c'
       | ^^^^^^^^^^ did you mean `certificate`?

    error[D008]: `server_name`: expected a DNS name or an IP address
      --> conf/wampgate.toml:8:15 at /router/tls/server_name
       |
     8 | server_name = 'a b'
       |               ^^^^^
    ");
    let file = "[router]\nurls = ['wss://r']\ntls = { certificate = 'c' }";
    insta::assert_snapshot!(load(file, &[], &[]).unwrap_err(), @r"
    error[D007]: missing key `key`
      --> conf/wampgate.toml:3:1 at /router/tls
       |
     3 | tls = { certificate = 'c' }
       | ^^^
    ");
}

#[test]
fn the_admin_api_leaves_this_machine_only_where_that_is_said() {
    for listen in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.3.2.1:0"] {
        let config = load(&format!("[admin]\nlisten = '{listen}'"), &[], &[]).unwrap();
        assert_eq!(config.admin.listen, listen);
        assert_eq!(config.admin.token_file, Path::new("conf/data/admin.token"));
    }
    for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "gateway.example:1"] {
        let file = format!("[admin]\nlisten = '{listen}'\ntoken_file = 'token'");
        let findings = load(&file, &[], &[]).unwrap_err();
        assert!(
            findings.contains("`listen` is beyond loopback"),
            "{findings}"
        );
        assert!(
            findings.contains("`admin.allow_remote = true`"),
            "{findings}"
        );
        let config = load(&file, &[("WAMPGATE_ADMIN__ALLOW_REMOTE", "true")], &[]).unwrap();
        assert_eq!(config.admin.listen, listen);
        assert_eq!(config.admin.token_file, Path::new("conf/token"));
        // What was printed can be read again.
        load(&config.to_toml(), &[], &[]).unwrap();
    }
    let flags = [flag("--admin", "admin.listen", "0.0.0.0:1")];
    let findings = load("", &[], &flags).unwrap_err();
    assert!(findings.contains("--> --admin"), "{findings}");
}

#[test]
fn mistakes_in_telemetry_are_found_and_secrets_are_never_shown() {
    let file = "[telemetry]\notlp_endpoint = 'grpc://c:4317'\notlp_headers = ['hush']\n\
                sample_ratio = 1.5\nresource_attributes = ['=x']\nsampel_ratio = 1";
    let environment = [("WAMPGATE_ROUTER__PASS_ON", "request_id,trace")];
    insta::assert_snapshot!(load(file, &environment, &[]).unwrap_err(), @r#"
    error[D008]: nothing called `trace` can be passed on
      --> WAMPGATE_ROUTER__PASS_ON:1:33 at /router/pass_on/1
       |
     1 | router.pass_on = ["request_id", "trace"]
       |                                 ^^^^^^^

    error[D008]: `otlp_endpoint`: expected `http://` or `https://`: spans are sent by OTLP over HTTP, usually port 4318
      --> conf/wampgate.toml:2:17 at /telemetry/otlp_endpoint
       |
     2 | otlp_endpoint = 'grpc://c:4317'
       |                 ^^^^^^^^^^^^^^^

    error[D008]: expected headers, each as `name=value`
      --> conf/wampgate.toml:3:17 at /telemetry/otlp_headers/0
       |
     3 | otlp_headers = ********
       |                 ^^^^^^

    error[D008]: `sample_ratio`: expected a number from 0 to 1
      --> conf/wampgate.toml:4:16 at /telemetry/sample_ratio
       |
     4 | sample_ratio = 1.5
       |                ^^^

    error[D008]: expected attributes, each as `name=value`
      --> conf/wampgate.toml:5:24 at /telemetry/resource_attributes/0
       |
     5 | resource_attributes = ['=x']
       |                        ^^^^

    error[D005]: unknown key `sampel_ratio`
      --> conf/wampgate.toml:6:1 at /telemetry/sampel_ratio
       |
     6 | sampel_ratio = 1
       | ^^^^^^^^^^^^
    "#);
}

#[test]
fn telemetry_is_read_and_what_is_printed_can_be_read_again() {
    let file = "[telemetry]\notlp_endpoint = 'https://c.example/otlp'\n\
                otlp_headers = ['authorization=Bearer%20${KEY}']\notlp_headers_file = 'keys'\n\
                sample_ratio = 0\ntrust_incoming = true\nservice_name = 'gate'\n\
                resource_attributes = ['place=here']\n\
                [router]\nurls = ['ws://r']\npass_on = []";
    let config = load(file, &[("KEY", "hush")], &[]).unwrap();
    let telemetry = &config.telemetry;
    let endpoint = telemetry.endpoint.as_ref().unwrap().to_string();
    assert_eq!(endpoint, "https://c.example/otlp/v1/traces");
    assert_eq!(
        telemetry.headers_file.as_deref(),
        Some(Path::new("conf/keys"))
    );
    assert_eq!(
        (telemetry.sample_ratio, telemetry.trust_incoming),
        (0.0, true)
    );
    let Router::Remote(router) = &config.router else {
        panic!("it has URLs");
    };
    assert!(!router.pass_on.trace_context && !router.pass_on.request_id);
    let printed = config.to_toml();
    assert!(!format!("{config:?} {printed}").contains("hush"));
    let again = load(&printed, &[], &[]).unwrap().to_toml();
    assert_eq!(again.replace("conf/conf/", "conf/"), printed);
}

#[test]
fn what_changes_live_is_taken_over_and_the_rest_is_named() {
    let mut config = load("", &[], &[]).unwrap();
    let next = "[http]\nmin_drain = '1s'\n[router]\nurls = ['ws://h/ws']\n\
        [specs]\ndir = 's'\n[realms]\ndir = 'r'\n[log]\nlevel = 'debug'\nformat = 'json'\n";
    let next = load(next, &[], &[]).unwrap();
    assert_eq!(config.restart_keys(&next), ["http.min_drain", "log.format"]);
    assert_eq!(config.restart_keys(&config), [] as [&str; 0]);
    config.take_live(&next);
    assert_eq!(config.restart_keys(&next), ["http.min_drain", "log.format"]);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.specs_dir, next.specs_dir);
    assert!(matches!(config.router, Router::Remote(_)));
}
