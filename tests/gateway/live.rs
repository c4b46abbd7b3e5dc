//! A gateway whose specs and realms change while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use wampgate::app::{App, Files, Plan, Settings};
use wampgate::catalog::installed::Installed;
use wampgate::config::{Config, Router};
use wampgate::listener;
use wampgate::store::embedded::Embedded;
use wampgate::store::{Expect, Key, Kind, Record, Store as _, Write};

use crate::http::{Http, PATIENCE};

pub(crate) struct Live {
    pub(crate) folder: TempDir,
    pub(crate) store: Arc<Embedded>,
    pub(crate) app: App,
    pub(crate) http: Http,
}

impl Live {
    /// Starts a gateway on a folder with these files; realms without a router use `router`.
    pub(crate) async fn start(files: &[(&str, &str)], router: Router) -> Self {
        Self::changed(files, router, |_| {}).await
    }

    pub(crate) async fn changed(
        files: &[(&str, &str)],
        router: Router,
        change: impl FnOnce(&mut Plan),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["specs", "realms"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = Config {
            http: listener::Config {
                listen: vec!["127.0.0.1:0".to_owned()],
                ..listener::Config::default()
            },
            router,
            ..Config::default()
        };
        let store = Arc::new(Embedded::in_memory());
        let mut plan = Plan {
            settings: Settings {
                files: Files::Folders {
                    specs: folder.path().join("specs"),
                    realms: folder.path().join("realms"),
                },
                router: config.router.clone(),
            },
            ..Plan::new(&config, store.clone())
        };
        change(&mut plan);
        let app = App::start(plan).await.unwrap();
        let http = Http::to(app.local_addrs()[0]);
        Self {
            folder,
            store,
            app,
            http,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file as careful programs do: it is there whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Waits until what is served `is_so`.
    pub(crate) async fn until(&self, is_so: impl FnMut(&Arc<Installed>) -> bool) -> Arc<Installed> {
        let mut installed = self.app.installed();
        let found = tokio::time::timeout(PATIENCE, installed.wait_for(is_so)).await;
        match found {
            Ok(found) => found.expect("the gateway runs").clone(),
            Err(_) => {
                let now = self.app.installed().borrow().clone();
                panic!("not in time: table {}, {:?}", now.number, now.findings());
            }
        }
    }

    pub(crate) async fn until_table(&self, number: u64) -> Arc<Installed> {
        self.until(|installed| installed.number == number).await
    }

    /// Writes to the store.
    pub(crate) async fn put(&self, kind: Kind, id: &str, text: Option<&str>) -> Record {
        let write = Write {
            key: Key {
                kind,
                id: id.to_owned(),
            },
            text: text.map(Arc::from),
            expect: Expect::Anything,
            author: "test".to_owned(),
            time_ms: 0,
        };
        self.store.write(write).await.unwrap()
    }

    /// Writes to the store, and waits until the gateway has taken it into account.
    pub(crate) async fn put_and_wait(&self, kind: Kind, id: &str, text: Option<&str>) {
        let revision = self.put(kind, id, text).await.revision;
        self.until(|it| it.store_revision >= revision).await;
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let answer = self.http.get(path).await;
        let body = String::from_utf8_lossy(&answer.body);
        match answer.status.as_u16() {
            200 => format!("200 {body}"),
            status => status.to_string(),
        }
    }
}

/// A spec with one path, which answers with a text.
pub(crate) fn fixed(id: &str, realm: &str, path: &str, text: &str) -> String {
    spec(
        id,
        realm,
        path,
        &format!(r#"{{"type": "static", "body": "{text}"}}"#),
    )
}

/// A spec with one path, which calls a procedure.
pub(crate) fn calling(id: &str, realm: &str, path: &str, procedure: &str) -> String {
    let action = format!(r#"{{"type": "wamp_call", "procedure": "{procedure}"}}"#);
    let spec = spec(id, realm, path, &action);
    let response = r#""response": {"on_result": {"body": "{{action.result.args |> head}}"}}}"#;
    spec.replacen(&format!("{action}}}"), &format!("{action}, {response}"), 1)
}

fn spec(id: &str, realm: &str, path: &str, action: &str) -> String {
    format!(
        r#"{{"id": "{id}", "host": "_", "realm_uri": "{realm}", "versions": {{"1": {{
            "base_path": "/", "paths": {{"{path}": {{"get": {{"action": {action}}}}}}}}}}}}}"#
    )
}

/// A realm with a router of its own.
pub(crate) fn realm(uri: &str, url: &str, sessions: usize) -> String {
    format!(r#"{{"uri": "{uri}", "router": {{"urls": ["{url}"], "sessions": {sessions}}}}}"#)
}

/// Swaps a folder's link as a mounted volume does: `data` is a new folder beside the old one.
pub(crate) fn swap_link(folder: &Path, data: &str) {
    let temporary = folder.join("..data_tmp");
    std::os::unix::fs::symlink(data, &temporary).unwrap();
    fs::rename(temporary, folder.join("..data")).unwrap();
}
