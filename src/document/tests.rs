use super::*;

fn find<'d>(document: &'d Document, path: &[&str]) -> &'d Node {
    let mut node = document.root();
    for key in path {
        node = match &node.kind {
            NodeKind::Map(members) => &members[*key],
            NodeKind::List(items) => &items[key.parse::<usize>().unwrap()],
            other => panic!("{key} in {other:?}"),
        };
    }
    node
}

fn marked(location: &Location) -> String {
    let excerpt = location.excerpt.as_ref().unwrap();
    let chars = excerpt.text.chars();
    chars.skip(excerpt.start).take(excerpt.length).collect()
}

#[test]
fn every_value_knows_its_place() {
    let text = "{\n  \"a/b~\": [1, {\"ü\": true}],\n  \"c\": null\n}";
    let document = Document::parse_json(Some("f.json"), text).unwrap();
    let node = find(&document, &["a/b~", "1", "ü"]);
    let location = document.location(node.id);
    assert_eq!(location.pointer, "/a~1b~0/1/ü");
    assert_eq!((location.line, location.column), (2, 21));
    assert_eq!(marked(&location), "true");
    let key = document.location_of_key(node.id);
    assert_eq!((key.line, key.column), (2, 16));
    assert_eq!(marked(&key), "\"ü\"");
    assert_eq!(document.location(SourceId(0)).pointer, "");
    assert_eq!(document.key(node.id), Some("ü"));
}

#[test]
fn a_place_inside_a_text_is_found_through_escapes() {
    let text = r#"{"t": "a\"\u00fc\ud83d\ude00{{x}} \n"}"#;
    let document = Document::parse_json(None, text).unwrap();
    let node = find(&document, &["t"]);
    let decoded = node.as_text().unwrap();
    assert_eq!(decoded, "a\"ü😀{{x}} \n");
    let locate = |part: &str| {
        let start = decoded.find(part).unwrap();
        document.locate(Span {
            source: node.id,
            start: narrow(start),
            end: narrow(start + part.len()),
        })
    };
    assert_eq!(marked(&locate("{{x}}")), "{{x}}");
    assert_eq!(locate("{{x}}").column, 29);
    assert_eq!(marked(&locate("ü")), r"\u00fc");
    assert_eq!(marked(&locate("😀")), r"\ud83d\ude00");
    assert_eq!(marked(&locate("\n")), r"\n");
    // An empty stretch at the end marks the closing quote.
    let end = narrow(decoded.len());
    let location = document.locate(Span {
        source: node.id,
        start: end,
        end,
    });
    assert_eq!(marked(&location), "\"");
}

#[test]
fn the_environment_is_put_in_and_places_stay() {
    let text = r#"{"t": "a ${HOME} \t b ${NO:-def} $${x} {{tag}}", "${HOME}": 1}"#;
    let mut document = Document::parse_json(None, text).unwrap();
    let environment = |name: &str| (name == "HOME").then(|| "/a/much/longer/text".to_owned());
    assert_eq!(document.substitute(&environment), []);
    let node = find(&document, &["t"]);
    let now = node.as_text().unwrap();
    assert_eq!(now, "a /a/much/longer/text \t b def ${x} {{tag}}");
    assert!(document.root().as_map().unwrap().contains_key("${HOME}"));
    let locate = |part: &str| {
        let start = now.find(part).unwrap();
        document.locate(Span {
            source: node.id,
            start: narrow(start),
            end: narrow(start + part.len()),
        })
    };
    assert_eq!(marked(&locate("{{tag}}")), "{{tag}}");
    assert_eq!(marked(&locate("longer")), "${HOME}");
    assert_eq!(marked(&locate("b def")), "b ${NO:-def}");
}

#[test]
fn a_broken_text_does_not_show_what_stands_under_a_secrets_key() {
    let shown = |outcome: Result<Document, Vec<Diagnostic>>| {
        let finding = match outcome {
            Ok(document) => document.notes()[0].clone(),
            Err(findings) => findings[0].clone(),
        };
        finding.render(false)
    };
    for text in [
        r#"{"secret": "hunter2" "x"}"#,
        r#"{"a": 1, "secret": hunter2}"#,
        r#"{"secret" : "hunter2}"#,
        r#"{"a": 1, "a": 2, "secret": "hunter2"}"#,
    ] {
        let rendered = shown(Document::parse_json(None, text));
        assert!(!rendered.contains("hunter2"), "{rendered}");
        assert!(rendered.contains("secret"), "{rendered}");
    }
    let rendered = shown(Document::parse_toml(None, "auth = { 'secret'= \"hunter2 }"));
    assert!(!rendered.contains("hunter2"), "{rendered}");
    let rendered = shown(Document::parse_json(
        None,
        r#"{"path": "/oauth/token", "shown"}"#,
    ));
    assert!(rendered.contains(r#""shown"}"#), "{rendered}");
}

#[test]
fn missing_names_and_open_braces_are_findings_all_at_once() {
    let text = r#"["${A}", "x ${B} ${C:-c}", "${", "${1x}"]"#;
    let mut document = Document::parse_json(None, text).unwrap();
    let findings = document.substitute(&|_| None);
    let seen: Vec<String> = findings
        .iter()
        .map(|f| format!("{} {} {}", f.code, f.location.column, marked(&f.location)))
        .collect();
    assert_eq!(
        seen,
        ["D009 3 ${A}", "D009 13 ${B}", "D010 29 ${", "D010 35 ${1x}"]
    );
}

#[test]
fn secrets_are_not_quoted() {
    let text = r#"{"authid": "me", "secret": "hunter2", "secrte": 1}"#;
    let document = Document::parse_json(None, text).unwrap();
    let location = document.location_of_key(find(&document, &["secrte"]).id);
    let excerpt = location.excerpt.as_ref().unwrap();
    assert!(!excerpt.text.contains("hunter2"), "{}", excerpt.text);
    assert_eq!(marked(&location), "\"secrte\"");
}

#[test]
fn the_password_in_a_url_is_not_quoted() {
    for (text, shown) in [
        (
            r#"{"urls": ["ws://me:hunter2@h/ws", "ws://h/@x"], "secrte": 1}"#,
            r#"{"urls": ["ws://**********@h/ws", "ws://h/@x"], "secrte": 1}"#,
        ),
        (
            r#"{"host": "http://hunt@er2@h", "secrte": "a@b"}"#,
            r#"{"host": "http://********@h", "secrte": "a@b"}"#,
        ),
    ] {
        let document = Document::parse_json(None, text).unwrap();
        let location = document.location_of_key(find(&document, &["secrte"]).id);
        assert_eq!(location.excerpt.unwrap().text, shown);
    }
}

#[test]
fn toml_knows_its_places_too() {
    let text = "[http]\nlisten = [\"127.0.0.1:1\"]\nmax = 5\n[log]\nlevel = 'info'\nat = 1.5\n";
    let document = Document::parse_toml(Some("w.toml"), text).unwrap();
    let level = find(&document, &["log", "level"]);
    assert_eq!(level.as_text(), Some("info"));
    let location = document.location_of_key(level.id);
    assert_eq!((location.line, location.column), (5, 1));
    assert_eq!(location.pointer, "/log/level");
    assert_eq!(marked(&location), "level");
    assert_eq!(marked(&document.location(level.id)), "'info'");
    assert_eq!(
        find(&document, &["http"]).to_value().to_string(),
        r#"{"listen":["127.0.0.1:1"],"max":5}"#
    );
    let findings = Document::parse_toml(Some("w.toml"), "a = 1\nb = = 2\n").unwrap_err();
    assert_eq!(findings[0].location.line, 2);
}
