//! The numbers that name things on the wire: all are `u64` in `1..=2^53`.
//!
//! Reference: WAMP Basic Profile, "IDs".

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest id: beyond it a double, and so JavaScript, would round.
pub const MAX_ID: u64 = 1 << 53;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Names a session; given by the router in WELCOME.
    SessionId
);
id!(
    /// Names a request within its session and direction; counts from 1 by 1.
    RequestId
);
id!(
    /// Names a published event; given by the broker.
    PublicationId
);
id!(
    /// Names a subscription; given by the broker.
    SubscriptionId
);
id!(
    /// Names a registration; given by the dealer.
    RegistrationId
);

/// Counts request ids of one session: 1, 2, ... and from 2^53 back to 1.
#[derive(Debug, Default)]
pub struct RequestIds {
    last: u64,
}

impl RequestIds {
    /// Takes the next id.
    pub fn next_id(&mut self) -> RequestId {
        let next = self.peek();
        self.last = next.0;
        next
    }

    /// Returns the id that will be taken next.
    pub fn peek(&self) -> RequestId {
        RequestId(if self.last >= MAX_ID {
            1
        } else {
            self.last + 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_count_from_one_and_wrap_after_two_to_the_53() {
        let mut ids = RequestIds::default();
        assert_eq!(ids.next_id(), RequestId(1));
        assert_eq!(ids.next_id(), RequestId(2));
        ids.last = MAX_ID;
        assert_eq!(ids.next_id(), RequestId(1));
    }
}
