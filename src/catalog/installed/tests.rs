use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::{Code, Location};

/// Texts as they change, and what is served of them.
#[derive(Default)]
struct World {
    sources: Sources,
    installed: Option<Installed>,
}

/// A spec of `realm` with one route for each path.
fn spec(id: &str, realm: &str, paths: &[&str]) -> String {
    let path = |path: &&str| format!(r#""{path}": {{"get": {{"action": {{"type": "static"}}}}}}"#);
    let paths: Vec<String> = paths.iter().map(path).collect();
    format!(
        r#"{{"id": "{id}", "host": "_", "realm_uri": "{realm}",
            "versions": {{"1": {{"base_path": "/", "paths": {{{}}}}}}}}}"#,
        paths.join(", ")
    )
}

fn set(files: &mut Vec<SourceText>, name: &str, text: Option<&str>) {
    files.retain(|file| file.name != name);
    files.extend(text.map(|text| SourceText {
        name: name.to_owned(),
        text: text.to_owned(),
    }));
    files.sort_by(|a, b| a.name.cmp(&b.name));
}

impl World {
    fn new() -> Self {
        let mut world = World::default();
        world.realm_file("r.json", Some(r#"{"uri": "com.a"}"#));
        world
    }

    fn spec_file(&mut self, name: &str, text: Option<&str>) {
        set(&mut self.sources.spec_files, name, text);
    }

    fn realm_file(&mut self, name: &str, text: Option<&str>) {
        set(&mut self.sources.realm_files, name, text);
    }

    fn store(&mut self, kind: Kind, id: &str, text: Option<&str>) {
        let stored = &mut self.sources.stored;
        stored.revision += 1;
        let key = Key {
            kind,
            id: id.to_owned(),
        };
        let records = Arc::make_mut(&mut stored.records);
        records.remove(&key);
        if let Some(text) = text {
            records.insert(key.clone(), revision(key, stored.revision, text));
        }
    }

    /// Compiles, and returns what is served and what is said.
    fn reload(&mut self) -> String {
        self.sources.time_ms += 1;
        let environment = |name: &str| (name == "NAME").then(|| "value".to_owned());
        let previous = self.installed.take();
        let next = Installed::compile(self.sources.clone(), previous.as_ref(), &environment);
        let shown = show(&next);
        self.installed = Some(next);
        shown
    }

    fn number(&self) -> u64 {
        self.installed.as_ref().unwrap().number
    }
}

fn revision(key: Key, revision: u64, text: &str) -> Record {
    Record {
        key,
        revision,
        text: Some(text.into()),
        author: "ann".to_owned(),
        time_ms: 1_000 + revision,
        hash: hash(text),
    }
}

/// `GET /a of x | x active, y rejected, older: S204`
fn show(installed: &Installed) -> String {
    let mut routes: Vec<String> = installed
        .catalog
        .routes()
        .iter()
        .map(|route| format!("{}={}", route.path, route.operation.version.api_id))
        .collect();
    routes.sort();
    let entry = |entry: &Entry| {
        let origin = match &entry.origin {
            Origin::File { .. } => "file",
            Origin::Store { .. } => "store",
        };
        let older = if entry.serves_older { " older" } else { "" };
        let codes: Vec<&str> = entry.findings.iter().map(|it| it.code.as_str()).collect();
        let (id, state, codes) = (&entry.id, entry.state.name(), codes.join(" "));
        format!("{origin} {id} {state}{older} {codes}")
            .trim()
            .to_owned()
    };
    let entries = installed.realms.iter().chain(&installed.specs);
    let entries: Vec<String> = entries
        .filter(|it| it.id != "com.a" || it.state == State::Rejected)
        .map(entry)
        .collect();
    format!("{} | {}", routes.join(" "), entries.join(", "))
}

#[test]
fn files_and_stored_documents_are_served_together() {
    let mut world = World::new();
    world.spec_file("x.json", Some(&spec("x", "com.a", &["/x"])));
    world.store(Kind::Spec, "y", Some(&spec("y", "com.b", &["/y"])));
    world.store(Kind::Realm, "com.b", Some(r#"{"uri": "com.b"}"#));
    assert_eq!(
        world.reload(),
        "/x=x /y=y | store com.b active, file x active, store y active"
    );
    let installed = world.installed.as_ref().unwrap();
    assert_eq!((installed.number, installed.store_revision), (1, 2));
    assert_eq!(installed.rejected(), (0, 0));
    let [x, y] = &*installed.specs else { panic!() };
    assert_eq!((x.time_ms, y.time_ms), (1, 1_001));
    assert_eq!(x.hash.len(), 64);
    let author = "ann".to_owned();
    let origin = Origin::Store {
        revision: 1,
        author,
    };
    assert_eq!(y.origin, origin);
}

#[test]
fn a_text_that_does_not_load_takes_nothing_away() {
    let mut world = World::new();
    let good = spec("x", "com.a", &["/x"]);
    world.spec_file("x.json", Some(&good));
    world.store(Kind::Spec, "y", Some(&spec("y", "com.a", &["/y"])));
    let before = world.reload();
    for bad in ["{", "[]", r#"{"id": "x"}"#, &spec("x", "com.none", &["/z"])] {
        world.spec_file("x.json", Some(bad));
        world.store(Kind::Spec, "y", Some(&bad.replace('x', "y")));
        let shown = world.reload();
        assert!(shown.starts_with("/x=x /y=y | "), "{shown}");
        assert!(shown.contains("file x rejected older"), "{shown}");
        assert!(shown.contains("store y rejected older"), "{shown}");
    }
    assert_eq!(world.number(), 1, "the table was the same all the time");
    world.spec_file("x.json", Some(&good));
    world.store(Kind::Spec, "y", Some(&spec("y", "com.a", &["/y"])));
    assert_eq!(world.reload(), before);
    assert_eq!(world.number(), 2 - 1, "what came back is what was served");
    world.spec_file("x.json", None);
    world.store(Kind::Spec, "y", None);
    assert_eq!(world.reload(), " | ");
}

#[test]
fn a_bad_file_that_never_loaded_hides_nothing() {
    let mut world = World::new();
    world.store(Kind::Spec, "x", Some(&spec("x", "com.a", &["/x"])));
    world.spec_file("x.json", Some(r#"{"id": "x", "versions": {}, "no": 1}"#));
    assert_eq!(
        world.reload(),
        "/x=x | file x rejected D007 D007 D005, store x active"
    );
}

#[test]
fn a_file_wins_over_a_stored_document_of_its_id() {
    let mut world = World::new();
    world.store(Kind::Spec, "x", Some(&spec("x", "com.a", &["/stored"])));
    assert_eq!(world.reload(), "/stored=x | store x active");
    world.spec_file("f.json", Some(&spec("x", "com.a", &["/file"])));
    assert_eq!(
        world.reload(),
        "/file=x | file x active, store x rejected S205"
    );
    let installed = world.installed.as_ref().unwrap();
    let finding = &installed.specs[1].findings[0];
    assert_eq!(
        finding.message,
        "an API with the id `x` is there already, at f.json:1:8"
    );
    assert_eq!(
        finding.hint.as_deref(),
        Some("a file wins over a stored document")
    );
    assert_eq!(
        installed.entry(Kind::Spec, "x").unwrap().state,
        State::Active
    );
    // Broken, it goes on as it was; gone, the stored one is back.
    world.spec_file("f.json", Some("{"));
    assert_eq!(
        world.reload(),
        "/file=x | file x rejected older D001, store x rejected S205"
    );
    world.spec_file("f.json", None);
    assert_eq!(world.reload(), "/stored=x | store x active");
}

#[test]
fn who_serves_a_route_keeps_it() {
    let mut world = World::new();
    world.store(Kind::Spec, "b", Some(&spec("b", "com.a", &["/1"])));
    world.reload();
    // A newcomer, even one that comes first in the order of a start.
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/1", "/2"])));
    assert_eq!(
        world.reload(),
        "/1=b | file a rejected S204, store b active"
    );
    // Also when the holder's text changes in the same moment.
    world.store(Kind::Spec, "b", Some(&spec("b", "com.a", &["/1", "/3"])));
    assert_eq!(
        world.reload(),
        "/1=b /3=b | file a rejected S204, store b active"
    );
    // An API that is served and wants more goes on as it was.
    world.store(Kind::Spec, "c", Some(&spec("c", "com.a", &["/4"])));
    world.reload();
    world.store(Kind::Spec, "c", Some(&spec("c", "com.a", &["/4", "/1"])));
    assert_eq!(
        world.reload(),
        "/1=b /3=b /4=c | file a rejected S204, store b active, store c rejected older S204"
    );
    // Given up, it is free, and the first in order has it.
    world.store(Kind::Spec, "b", Some(&spec("b", "com.a", &["/3"])));
    assert_eq!(
        world.reload(),
        "/1=a /2=a /3=b /4=c | file a active, store b active, store c rejected older S204"
    );
}

#[test]
fn routes_can_be_exchanged_in_one_change() {
    let mut world = World::new();
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/1"])));
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/2"])));
    world.reload();
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/2"])));
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/1"])));
    assert_eq!(world.reload(), "/1=b /2=a | file a active, file b active");
    // Half of an exchange is refused, and done when the other half comes.
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/1"])));
    assert_eq!(
        world.reload(),
        "/1=b /2=a | file a rejected older S204, file b active"
    );
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/2"])));
    assert_eq!(world.reload(), "/1=a /2=b | file a active, file b active");
}

#[test]
fn who_lost_against_one_that_fell_back_is_served_after_all() {
    let mut world = World::new();
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/1"])));
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/2"])));
    world.reload();
    // `b` wants /1, which `a` holds, and /3; `c` wants /3.
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/1", "/3"])));
    world.spec_file("c.json", Some(&spec("c", "com.a", &["/3"])));
    assert_eq!(
        world.reload(),
        "/1=a /2=b /3=c | file a active, file b rejected older S204 S204, file c active"
    );
}

#[test]
fn who_was_served_does_not_lose_its_place_while_others_fight() {
    let mut world = World::new();
    world.store(Kind::Spec, "a", Some(&spec("a", "com.a", &["/2"])));
    world.store(Kind::Spec, "c", Some(&spec("c", "com.a", &["/1"])));
    world.reload();
    // The file would take the place of the stored `c`, but loses against `a`; `b` wants that place.
    world.spec_file("c.json", Some(&spec("c", "com.a", &["/2"])));
    world.store(Kind::Spec, "b", Some(&spec("b", "com.a", &["/1"])));
    assert_eq!(
        world.reload(),
        "/1=c /2=a | file c rejected S205 S204, store a active, store b rejected S204, store c active"
    );
}

#[test]
fn a_realm_lasts_as_long_as_something_uses_it() {
    let mut world = World::new();
    world.spec_file("x.json", Some(&spec("x", "com.a", &["/x"])));
    world.reload();
    world.realm_file("r.json", None);
    assert_eq!(world.reload(), "/x=x | file x rejected older S201");
    let realms = |world: &World| {
        let installed = world.installed.as_ref().unwrap();
        installed
            .catalog
            .realms()
            .map(|it| it.uri.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(realms(&world), ["com.a"]);
    // A change is refused for the same reason, and it goes on.
    world.spec_file("x.json", Some(&spec("x", "com.a", &["/y"])));
    assert_eq!(world.reload(), "/x=x | file x rejected older S201");
    world.spec_file("x.json", None);
    assert_eq!(world.reload(), " | ");
    assert_eq!(realms(&world), [] as [&str; 0]);
}

#[test]
fn realms_keep_their_last_good_settings_one_by_one() {
    let mut world = World::default();
    let realm = |uri: &str, sessions: &str| {
        format!(r#"{{"uri": "{uri}", "router": {{"urls": ["ws://h"], "sessions": {sessions}}}}}"#)
    };
    let sessions = |world: &World| {
        let installed = world.installed.as_ref().unwrap();
        let realms = installed.catalog.realms();
        let show =
            |realm: &Realm| format!("{} {}", realm.uri, realm.router.as_ref().unwrap().sessions);
        realms.map(show).collect::<Vec<_>>().join(", ")
    };
    let list = |items: &[String]| format!("[{}]", items.join(", "));
    let good = list(&[realm("com.b", "1"), realm("com.c", "1")]);
    world.realm_file("r.json", Some(&good));
    world.spec_file("x.json", Some(&spec("x", "com.b", &["/x"])));
    world.reload();
    assert_eq!(sessions(&world), "com.b 1, com.c 1");
    // One is bad, the other new.
    world.realm_file(
        "r.json",
        Some(&list(&[realm("com.b", "0"), realm("com.c", "2")])),
    );
    assert_eq!(
        world.reload(),
        "/x=x | file com.b rejected older D008, file com.c active, file x active"
    );
    assert_eq!(sessions(&world), "com.b 1, com.c 2");
    // One cannot be told: it may be either.
    world.realm_file(
        "r.json",
        Some(&list(&[realm("com..b", "3"), realm("com.c", "3")])),
    );
    world.reload();
    assert_eq!(sessions(&world), "com.c 3, com.b 1");
    world.realm_file("r.json", Some("["));
    world.reload();
    assert_eq!(sessions(&world), "com.c 3, com.b 1");
    // Taken out on purpose.
    world.realm_file("r.json", Some(&list(&[realm("com.b", "4")])));
    world.reload();
    assert_eq!(sessions(&world), "com.b 4");
}

#[test]
fn what_cannot_be_read_is_not_gone() {
    let mut world = World::new();
    world.realm_file("realms/r.json", Some(r#"{"uri": "com.b"}"#));
    world.spec_file("specs/x.json", Some(&spec("x", "com.b", &["/x"])));
    world.reload();
    let unread = |name| Diagnostic::error(Code::Unreadable, Location::of_file(name), "cannot");
    for (realm, spec) in [("realms", "specs"), ("realms/r.json", "specs/x.json")] {
        world.realm_file("realms/r.json", None);
        world.spec_file("specs/x.json", None);
        world.sources.unread = vec![unread(realm), unread(spec)];
        assert_eq!(
            world.reload(),
            "/x=x | file com.b rejected older D011, file x rejected older D011"
        );
    }
    world.sources.unread.clear();
    assert_eq!(world.reload(), " | ");
}

#[test]
fn a_stored_document_says_what_it_is_stored_as() {
    let mut world = World::new();
    world.store(Kind::Spec, "y", Some(&spec("x", "com.a", &["/x"])));
    world.store(Kind::Realm, "com.b", Some(r#"{"uri": "com.c"}"#));
    world.store(Kind::Realm, "com.d", Some(r#"[{"uri": "com.d"}]"#));
    assert_eq!(
        world.reload(),
        " | store com.b rejected D014, store com.d rejected D006, store y rejected D014"
    );
}

#[test]
fn only_files_see_the_environment() {
    let mut world = World::new();
    let text = |id: &str| {
        let path = format!("/{id}");
        let spec = spec(id, "com.a", &[&path]);
        spec.replacen("\"versions\"", "\"name\": \"${NAME}\", \"versions\"", 1)
    };
    world.spec_file("x.json", Some(&text("x")));
    world.store(Kind::Spec, "y", Some(&text("y")));
    world.reload();
    let installed = world.installed.as_ref().unwrap();
    let names: Vec<String> = installed
        .catalog
        .routes()
        .iter()
        .map(|route| route.operation.version.api_name.clone())
        .collect();
    assert_eq!(names, ["value", "${NAME}"]);
    assert!(installed.specs[0].text.contains("${NAME}"));
}

#[test]
fn a_look_at_what_would_be_finds_the_files_as_they_are() {
    let mut world = World::new();
    let realm = r#"{"uri": "com.${NAME}", "description": "${NAME}"}"#;
    world.realm_file("named.json", Some(realm));
    world.spec_file("x.json", Some(&spec("x", "com.value", &["/x"])));
    let before = world.reload();
    assert!(before.contains("file com.value active"), "{before}");
    let key = |id: &str| Key {
        kind: Kind::Spec,
        id: id.to_owned(),
    };
    let installed = world.installed.as_ref().unwrap();
    let text = |id: &str| Some(Arc::from(spec(id, "com.value", &[&format!("/{id}")])));
    let once = installed.with(&key("y"), text("y"));
    let twice = once.with(&key("z"), text("z"));
    for would_be in [&once, &twice] {
        let entries = would_be.realms.iter().chain(&would_be.specs);
        let rejected = entries.filter(|entry| entry.state == State::Rejected);
        assert_eq!(rejected.count(), 0, "{}", show(would_be));
    }
}

#[test]
fn at_a_start_an_earlier_revision_serves() {
    let mut world = World::new();
    let key = |kind, id: &str| Key {
        kind,
        id: id.to_owned(),
    };
    world.store(Kind::Realm, "com.b", Some("{"));
    world.sources.stored.revision = 10;
    world.store(Kind::Spec, "x", Some(&spec("x", "com.none", &["/11"])));
    assert_eq!(
        world.reload(),
        " | store com.b rejected D001, store x rejected S201"
    );
    let wants = world.installed.as_ref().unwrap().wants();
    assert_eq!(
        wants,
        [(key(Kind::Realm, "com.b"), 1), (key(Kind::Spec, "x"), 11)]
    );
    let text = |path| spec("x", "com.a", &[path]);
    let revisions = [
        (12, text("/12")),
        (9, "{".to_owned()),
        (8, text("/8")),
        (7, text("/7")),
    ];
    let mut revisions = revisions.map(|(at, text)| revision(key(Kind::Spec, "x"), at, &text));
    // What was deleted since does not come back by itself.
    let deleted = revisions[1].text.take();
    world
        .sources
        .older
        .insert(key(Kind::Spec, "x"), revisions.to_vec());
    assert_eq!(
        world.reload(),
        " | store com.b rejected D001, store x rejected S201"
    );
    revisions[1].text = deleted;
    world
        .sources
        .older
        .insert(key(Kind::Spec, "x"), revisions.to_vec());
    assert_eq!(
        world.reload(),
        "/8=x | store com.b rejected D001, store x rejected older S201"
    );
    // From then on it is what was served last.
    world.sources.older.clear();
    assert_eq!(
        world.reload(),
        "/8=x | store com.b rejected D001, store x rejected older S201"
    );
    assert_eq!(world.number(), 2);
}

#[test]
fn what_would_be_is_known_without_being_done() {
    let mut world = World::new();
    let named = spec("a", "com.a", &["/1"]).replacen("static", "static\", \"body\": \"${NAME}", 1);
    world.spec_file("a.json", Some(&named));
    world.store(Kind::Spec, "b", Some(&spec("b", "com.a", &["/2", "/3"])));
    world.reload();
    let installed = world.installed.unwrap();
    let key = Key {
        kind: Kind::Spec,
        id: "b".to_owned(),
    };
    let changed =
        spec("b", "com.a", &["/3", "/4"]).replacen("static", "static\", \"body\": \"x", 1);
    let with = installed.with(&key, Some(changed.as_str().into()));
    let difference = installed.routes_difference(&with);
    let paths = |routes: &[Route]| -> Vec<String> {
        routes.iter().map(|route| route.path.to_string()).collect()
    };
    assert_eq!(paths(&difference.added), ["/4"]);
    assert_eq!(paths(&difference.removed), ["/2"]);
    assert_eq!(paths(&difference.changed), ["/3"]);
    assert_eq!(with.stored(&key).unwrap().state, State::Active);
    // One that another serves.
    let with = installed.with(&key, Some(spec("b", "com.a", &["/1"]).as_str().into()));
    let entry = with.stored(&key).unwrap();
    assert_eq!((entry.state, entry.serves_older), (State::Rejected, true));
    assert_eq!(
        entry.findings[0].location.pointer,
        "/versions/1/paths/~11/get"
    );
    assert_eq!(
        installed.routes_difference(&with),
        RouteDifference::default()
    );
    // Spaces change nothing.
    let with = installed.with(
        &key,
        Some(
            spec("b", "com.a", &["/2", "/3"])
                .replace(", ", " , ")
                .as_str()
                .into(),
        ),
    );
    assert_eq!(
        installed.routes_difference(&with),
        RouteDifference::default()
    );
    let with = installed.with(&key, None);
    assert_eq!(
        paths(&installed.routes_difference(&with).removed),
        ["/2", "/3"]
    );
}

#[test]
fn what_did_not_change_stays_where_it_is() {
    let mut world = World::new();
    world.spec_file("a.json", Some(&spec("a", "com.a", &["/1"])));
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/2"])));
    world.reload();
    let operation = |world: &World| {
        world.installed.as_ref().unwrap().catalog.routes()[0]
            .operation
            .clone()
    };
    let before = operation(&world);
    world.spec_file("b.json", Some(&spec("b", "com.a", &["/3"])));
    world.realm_file("r.json", Some(r#"{"uri": "com.a", "description": "new"}"#));
    world.reload();
    assert_eq!(world.number(), 2);
    assert!(Arc::ptr_eq(&before, &operation(&world)));
}

/// A change of one document.
#[derive(Debug, Clone)]
struct Change {
    is_file: bool,
    id: &'static str,
    text: Text,
}

#[derive(Debug, Clone)]
enum Text {
    Gone,
    Broken,
    Spec {
        realm: &'static str,
        paths: BTreeSet<&'static str>,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let path = prop::sample::select(vec!["/1", "/2", "/3", "/4"]);
    let realm = prop::sample::select(vec!["com.a", "com.a", "com.b", "com.none"]);
    let good = (realm, prop::collection::btree_set(path, 1..3));
    let text = prop_oneof![
        1 => Just(Text::Gone),
        2 => Just(Text::Broken),
        6 => good.prop_map(|(realm, paths)| Text::Spec { realm, paths }),
    ];
    let id = prop::sample::select(vec!["a", "b", "c"]);
    (any::<bool>(), id, text).prop_map(|(is_file, id, text)| Change { is_file, id, text })
}

impl World {
    fn apply(&mut self, change: &Change) {
        let text = match &change.text {
            Text::Gone => None,
            Text::Broken => Some("{".to_owned()),
            Text::Spec { realm, paths } => {
                let paths: Vec<&str> = paths.iter().copied().collect();
                Some(spec(change.id, realm, &paths))
            }
        };
        if change.is_file {
            self.spec_file(&format!("{}.json", change.id), text.as_deref());
        } else {
            self.store(Kind::Spec, change.id, text.as_deref());
        }
    }

    fn is_there(&self, id: &str) -> bool {
        let name = format!("{id}.json");
        let mut files = self.sources.spec_files.iter();
        let mut stored = self.sources.stored.records.keys();
        files.any(|file| file.name == name) || stored.any(|key| key.id == id)
    }

    fn served(&self) -> BTreeSet<String> {
        let installed = self.installed.as_ref().unwrap();
        let specs = installed.catalog.specs.iter();
        specs.map(|spec| spec.id.clone().unwrap()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Whatever is changed, in whatever bursts: what is there and was served is served; nothing that
    /// is gone is; no route is served twice; whoever is rejected is told why.
    #[test]
    fn what_was_served_is_served_as_long_as_it_is_there(
        bursts in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..8),
        realms in prop::collection::vec(any::<bool>(), 8),
    ) {
        let mut world = World::new();
        world.reload();
        for (burst, has_b) in bursts.iter().zip(realms) {
            let before = world.served();
            burst.iter().for_each(|change| world.apply(change));
            world.realm_file("b.json", has_b.then_some(r#"{"uri": "com.b"}"#));
            let shown = world.reload();
            let served = world.served();
            for id in &before {
                let is_in_burst = burst.iter().any(|change| {
                    change.id == id && matches!(change.text, Text::Gone)
                });
                // A file that is taken away leaves its place to a stored document, which may be bad.
                if world.is_there(id) && !is_in_burst {
                    prop_assert!(served.contains(id), "{id} is lost: {shown}");
                }
            }
            for id in &served {
                prop_assert!(world.is_there(id), "{id} is not there: {shown}");
            }
            let installed = world.installed.as_ref().unwrap();
            let routes = installed.catalog.routes();
            let mut paths: Vec<String> = routes.iter().map(|it| it.path.to_string()).collect();
            paths.sort();
            paths.dedup();
            prop_assert_eq!(paths.len(), routes.len(), "{}", shown);
            let realms: Vec<&str> = installed.catalog.realms().map(|it| it.uri.as_str()).collect();
            for route in &routes {
                prop_assert!(realms.contains(&route.operation.version.realm.as_str()), "{}", shown);
            }
            for entry in &installed.specs {
                let has_errors = entry.findings.iter().any(Diagnostic::is_error);
                prop_assert_eq!(has_errors, entry.state == State::Rejected, "{}", shown);
            }
            // Again, with nothing changed, it is the same.
            let number = world.number();
            prop_assert_eq!(world.reload(), shown);
            prop_assert_eq!(world.number(), number);
        }
    }
}
