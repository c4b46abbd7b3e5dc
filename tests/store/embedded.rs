//! The embedded store: the laws, in memory and in a file, and what only a file does.

#[path = "laws.rs"]
mod laws;

use tempfile::tempdir;
use wampgate::store::embedded::Embedded;

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let store = Embedded::in_memory();
    laws::hold(&store, "memory").await;
    laws::end(&store).await;
}

#[tokio::test]
async fn the_laws_hold_in_a_file_and_again_when_it_is_opened_anew() {
    let folder = tempdir().unwrap();
    for name in ["first", "second"] {
        let store = Embedded::open(folder.path()).await.unwrap();
        laws::hold(&store, name).await;
        laws::end(&store).await;
    }
}
