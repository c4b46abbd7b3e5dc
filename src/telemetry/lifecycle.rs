//! Where the program stands between its start and its end: what readiness goes by, and streams
//! that have to end before everything else does.

use std::sync::Arc;

use tokio::sync::watch;

/// A stage of the program's life. They come in this order, and none comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// No table is installed yet, or nothing listens.
    #[default]
    Starting,
    /// Requests are answered.
    Serving,
    /// The end has begun: requests are still answered, but whoever can is to go elsewhere. Not
    /// ready any more.
    Draining,
}

impl Stage {
    /// Returns the stage's name: `starting`, `serving` or `draining`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::Serving => "serving",
            Stage::Draining => "draining",
        }
    }
}

/// The stage that the program is in. Cheap to clone; all clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<watch::Sender<Stage>>);

impl Lifecycle {
    /// Returns the stage that the program is in.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Goes on to `stage`; an earlier one than the present is ignored.
    pub fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|present| {
            let is_news = *present < stage;
            *present = stage.max(*present);
            is_news
        });
    }

    /// Waits until the program is in `stage` or beyond it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.0.subscribe();
        // The sender lives in `self`, so this ends for no other reason.
        drop(stages.wait_for(|present| *present >= stage).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_only_go_forward_and_every_clone_knows() {
        let lifecycle = Lifecycle::default();
        let clone = lifecycle.clone();
        assert_eq!(clone.stage(), Stage::Starting);
        let (reached, ()) = tokio::join!(
            async {
                clone.reached(Stage::Serving).await;
                clone.stage()
            },
            async { lifecycle.advance(Stage::Draining) }
        );
        assert_eq!(reached, Stage::Draining);
        lifecycle.advance(Stage::Serving);
        assert_eq!(clone.stage(), Stage::Draining);
        assert_eq!(clone.stage().name(), "draining");
    }
}
