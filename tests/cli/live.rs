//! The commands for a running gateway against one: `serve` in a process of its own, with a store in a
//! folder, and a shell in the same folder.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::clients::shell_command;
use crate::processes::{Running, shell};

/// A gateway and a folder with its configuration; one realm and one API come from files.
struct World {
    serve: Running,
    /// Where it serves.
    http: String,
    admin: String,
    folder: TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| write(folder.path(), path, text);
        write(
            "realms/file.json",
            r#"{"uri": "com.file", "router": {"urls": ["ws://127.0.0.1:1/ws"]}}"#,
        );
        write("specs/file.json", &spec("filed", "com.file", "/filed"));
        write(
            "wampgate.toml",
            "[http]\nlisten = ['127.0.0.1:0']\nmin_drain = '0s'\n[admin]\nlisten = '127.0.0.1:0'\n\
             [router]\nurls = ['ws://127.0.0.1:1/ws']\n[log]\nformat = 'text'\n",
        );
        let mut command = shell_command("exec wampgate serve", folder.path());
        let mut serve = Running::spawn(&mut command);
        let mut address = |text: &str| {
            let line = serve.line(text);
            let (_, address) = line.split_once("http://").unwrap();
            address.split_whitespace().next().unwrap().to_owned()
        };
        let http = address("serving HTTP at");
        let admin = address("serving the admin API at");
        Self {
            serve,
            http,
            admin,
            folder,
        }
    }

    /// What a command line says: standard output, standard error, exit code.
    fn run(&self, line: &str) -> String {
        let mut command = shell_command(line, self.folder.path());
        let output = command
            .env("WAMPGATE_ADMIN__LISTEN", &self.admin)
            .env("USER", "ada")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        format!(
            "{}{}[exit {}]",
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap()
        )
    }

    fn write(&self, path: &str, text: &str) {
        write(self.folder.path(), path, text);
    }

    /// What is served at a path.
    fn get(&self, path: &str) -> String {
        shell(&format!(
            "curl -s -o - -w ' %{{http_code}}' http://{}{path}",
            self.http
        ))
    }
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A spec with one path, which answers with the spec's id.
fn spec(id: &str, realm: &str, path: &str) -> String {
    format!(
        "{{\n  \"id\": \"{id}\",\n  \"host\": \"_\",\n  \"realm_uri\": \"{realm}\",\n  \"versions\": \
         {{\"1\": {{\"base_path\": \"/\", \"paths\": {{\n    \"{path}\": {{\"get\": {{\"action\": {{\"type\": \
         \"static\", \"body\": \"{id}\"}}}}}}\n  }}}}}}\n}}\n"
    )
}

const REALM: &str = "{\n  \"uri\": \"com.new\",\n  \"router\": {\"urls\": [\"ws://127.0.0.1:1/ws\"], \
    \"auth\":\n    {\"method\": \"ticket\", \"authid\": \"me\", \"secret\": \"hush\"}}\n}\n";

#[test]
fn what_is_applied_is_served_and_what_is_deleted_is_gone() {
    let world = World::start();
    world.write("new/spec.json", &spec("shop", "com.new", "/shop"));
    world.write("new/realm.json", REALM);

    // First to see what would be.
    assert_eq!(
        world.run("wampgate apply new --dry-run"),
        "would be created: realm com.new\nwould be put once its realm is there: spec shop\n[exit 0]"
    );
    let diff = world.run("wampgate diff new");
    assert!(
        diff.contains("+++ new/realm.json\n") && diff.contains("\n+  \"uri\": \"com.new\",\n"),
        "{diff}"
    );
    assert!(
        diff.contains("\"secret\": \"***\"") && !diff.contains("hush"),
        "{diff}"
    );
    assert!(
        diff.ends_with("(its routes are known once its realm is there)\n[exit 1]"),
        "{diff}"
    );
    assert!(world.get("/shop").ends_with(" 404"));

    assert_eq!(
        world.run("wampgate apply new"),
        "created realm com.new (revision 1)\ncreated spec shop (revision 2)\n[exit 0]"
    );
    assert_eq!(world.get("/shop"), "\"shop\" 200");
    assert_eq!(
        world.run("wampgate apply new"),
        "unchanged realm com.new\nunchanged spec shop\n[exit 0]"
    );
    assert_eq!(world.run("wampgate diff new"), "[exit 0]");

    // A change, and the way back.
    world.write("new/spec.json", &spec("shop", "com.new", "/store"));
    assert_eq!(
        world.run("wampgate diff new/spec.json"),
        "--- spec shop\n+++ new/spec.json\n@@ -3,6 +3,6 @@\n   \"host\": \"_\",\n   \"realm_uri\": \"com.new\",\n   \
         \"versions\": {\"1\": {\"base_path\": \"/\", \"paths\": {\n-    \"/shop\": {\"get\": {\"action\": {\"type\": \
         \"static\", \"body\": \"shop\"}}}\n+    \"/store\": {\"get\": {\"action\": {\"type\": \"static\", \"body\": \
         \"shop\"}}}\n   }}}\n }\n- GET _ /shop static\n+ GET _ /store static\n[exit 1]"
    );
    assert_eq!(
        world.run("wampgate apply - --if-revision 1 --from grace@example.org < new/spec.json"),
        "error: spec shop is not at revision 1: The present revision is 2 (412 Precondition Failed)\n[exit 1]"
    );
    assert_eq!(
        world.run("wampgate apply - --if-revision 2 --from grace@example.org < new/spec.json"),
        "replaced spec shop (revision 3)\n[exit 0]"
    );
    assert_eq!(world.get("/store"), "\"shop\" 200");
    assert!(world.get("/shop").ends_with(" 404"));
    let revisions = world.run("wampgate list revisions spec shop");
    let by: Vec<(&str, &str)> = revisions
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut cells = line.split_whitespace();
            Some((cells.next()?, cells.nth(1)?))
        })
        .take(2)
        .collect();
    assert_eq!(by[0], ("3", "grace@example.org"));
    assert!(by[1].0 == "2" && by[1].1.starts_with("ada@"), "{revisions}");
    assert_eq!(
        world.run("wampgate get spec shop --revision 2 | wampgate apply -"),
        "replaced spec shop (revision 4)\n[exit 0]"
    );
    assert_eq!(world.get("/shop"), "\"shop\" 200");

    // What was got is what was put, letter for letter; of a realm but for its secrets, which it keeps.
    assert_eq!(
        world.run("wampgate get spec shop > got.json && wampgate apply got.json"),
        "unchanged spec shop\n[exit 0]"
    );
    let got = fs::read_to_string(world.folder.path().join("got.json")).unwrap();
    assert_eq!(got, spec("shop", "com.new", "/shop"));
    let realm = world.run("wampgate get realm com.new | tee realm.json");
    assert!(
        realm.contains("\"authid\": \"me\"") && !realm.contains("hush"),
        "{realm}"
    );
    let applied = world.run("wampgate apply realm.json");
    assert_eq!(applied, "replaced realm com.new (revision 5)\n[exit 0]");

    // One that is in use stays.
    let said = world.run("wampgate delete realm com.new");
    assert!(
        said.starts_with("error: It is in use: API `shop`"),
        "{said}"
    );
    assert_eq!(
        world.run("wampgate delete spec shop"),
        "deleted spec shop\n[exit 0]"
    );
    assert!(world.get("/shop").ends_with(" 404"));
    assert_eq!(
        world.run("wampgate delete spec shop"),
        "error: there is no spec shop\n[exit 1]"
    );
    assert_eq!(
        world.run("wampgate get spec shop"),
        "error: there is no spec shop\n[exit 1]"
    );
    assert_eq!(
        world.run("wampgate get spec shop --revision 4 > old.json; wampgate apply old.json"),
        "created spec shop (revision 7)\n[exit 0]"
    );
    world.serve.end("TERM");
}

#[test]
fn what_is_wrong_is_told_and_the_rest_is_applied() {
    let world = World::start();
    let good = spec("good", "com.file", "/good");
    world.write(
        "new/a.json",
        &spec("bad", "com.file", "/bad").replace("host", "hots"),
    );
    world.write("new/b.json", &good);
    world.write("new/c.json", &spec("filed", "com.file", "/other"));
    world.write("new/d.json", "{");
    let said = world.run("wampgate apply new");
    insta::assert_snapshot!(said, @r#"
    created spec good (revision 1)
    error[D001]: expected a key in double quotes, found the end of the text
      --> new/d.json:1:2
       |
     1 | {
       |  ^ the `{` of line 1 is not closed

    1 error
    error[D005]: unknown key `hots`
      --> new/a.json:3:3 at /hots
       |
     3 | "hots": "_",
       | ^^^^^^ did you mean `host`?

    error: spec bad is refused: 1 error
    error: spec filed: The file `specs/file.json` holds it: change it there (409 Conflict)
    [exit 1]
    "#);
    assert_eq!(world.get("/good"), "\"good\" 200");

    let list = world.run("wampgate list");
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    assert_eq!(rows[1], ["realm", "com.file", "active", "file"]);
    assert_eq!(rows[2], ["spec", "filed", "active", "file"]);
    assert_eq!(rows[3], ["spec", "good", "active", "store"]);
    let routes = world.run("wampgate list routes --format json");
    assert!(routes.contains("\"path\":\"/good\""), "{routes}");
    let gateways = world.run("wampgate list gateways");
    assert!(gateways.contains(env!("CARGO_PKG_VERSION")), "{gateways}");
    let store = world.run("wampgate get store");
    assert!(store.starts_with("state            ready\n"), "{store}");
    let info = world.run("wampgate get spec good --format json");
    assert!(info.contains("\"state\":\"active\""), "{info}");
    let revision = world.run("wampgate get spec good --revision 1 --format json");
    assert!(revision.starts_with("{\"revision\":1,"), "{revision}");
    assert_eq!(
        world.run("wampgate get spec good --revision 9"),
        "error: there is no revision 9 of spec good\n[exit 1]"
    );
    let router = world.run("wampgate get router com.file");
    assert!(
        router.starts_with("com.file is down\n\nSESSION "),
        "{router}"
    );
    let ready = world.run("wampgate get ready");
    assert!(
        ready.starts_with("not ready: ") && ready.ends_with("[exit 1]"),
        "{ready}"
    );
    let wrong = "echo 0123456789abcdef0123456789abcdef > wrong; wampgate list --token-file wrong";
    let said = world.run(wrong);
    assert!(
        said.contains("does not take the token of wrong (--token-file)\n[exit 1]"),
        "{said}"
    );
    world.serve.end("TERM");
}
