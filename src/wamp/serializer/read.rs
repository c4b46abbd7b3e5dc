//! A frame's elements to a message, in either manner of reading.

use super::frame::Elements;
use super::{DecodeError, Reading, strict};
use crate::uri::{Match, Uri, UriCheck, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::id::{
    MAX_ID, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId,
};
use crate::wamp::message::{Message, Payload, code};

/// Makes a message of what was read of a frame.
pub(super) fn message(elements: Elements, reading: Reading) -> Result<Message, DecodeError> {
    let Elements {
        values,
        surplus,
        fault,
    } = elements;
    let length = values.len() + surplus;
    let mut values = values.into_iter();
    let Some(first) = values.next() else {
        return Err(DecodeError::NotAMessage {
            detail: fault.unwrap_or_else(|| "an empty list".to_owned()),
        });
    };
    let Some(code) = first.as_u64() else {
        return Err(DecodeError::NotAMessage {
            detail: format!(
                "begins with {} instead of a message code",
                first.type_name()
            ),
        });
    };
    if code::name(code).is_none() {
        return Err(DecodeError::Unknown { code });
    }
    let mut reader = Reader {
        code,
        request: None,
        values,
        reading,
    };
    if let Some(detail) = fault {
        reader.find_request();
        return Err(reader.malformed(detail));
    }
    if reading == Reading::Strict {
        let (min, max) = lengths(code);
        if !(min..=max).contains(&length) {
            reader.find_request();
            return Err(reader.malformed(format!("{length} elements, expected {min} to {max}")));
        }
    }
    reader.message()
}

/// Returns how many elements a message has, at least and at most.
fn lengths(code: u64) -> (usize, usize) {
    match code {
        code::EVENT_RECEIVED => (2, 2),
        code::UNSUBSCRIBED | code::UNREGISTERED => (2, 3),
        code::ABORT | code::RESULT | code::YIELD => (3, 5),
        code::SUBSCRIBE | code::REGISTER => (4, 4),
        code::PUBLISH | code::EVENT | code::CALL | code::INVOCATION => (4, 6),
        code::ERROR => (5, 7),
        _ => (3, 3),
    }
}

struct Reader {
    code: u64,
    request: Option<RequestId>,
    values: std::vec::IntoIter<Value>,
    reading: Reading,
}

impl Reader {
    fn message(mut self) -> Result<Message, DecodeError> {
        Ok(match self.code {
            code::HELLO => {
                let (realm, uri_fault) = self.uri("realm")?;
                let details = self.dict("details")?;
                self.options(&details)?;
                self.answerable(uri_fault)?;
                Message::Hello { realm, details }
            }
            code::WELCOME => Message::Welcome {
                session: SessionId(self.id("session")?),
                details: self.dict("details")?,
            },
            code::ABORT => {
                let details = self.dict("details")?;
                let (reason, uri_fault) = self.uri("reason")?;
                let payload = self.payload(&details)?;
                self.answerable(uri_fault)?;
                Message::Abort {
                    details,
                    reason,
                    payload,
                }
            }
            code::CHALLENGE => Message::Challenge {
                method: self.text("method")?,
                extra: self.dict("extra")?,
            },
            code::AUTHENTICATE => Message::Authenticate {
                signature: self.text("signature")?,
                extra: self.dict("extra")?,
            },
            code::GOODBYE => {
                let details = self.dict("details")?;
                let (reason, uri_fault) = self.uri("reason")?;
                self.answerable(uri_fault)?;
                Message::Goodbye { details, reason }
            }
            code::ERROR => {
                let request_type = self.request_type()?;
                let request = self.request()?;
                if request_type == code::YIELD {
                    self.request = None;
                }
                let details = self.dict("details")?;
                let (error, uri_fault) = self.uri("error")?;
                let payload = self.payload(&details)?;
                self.answerable(uri_fault)?;
                Message::Error {
                    request_type,
                    request,
                    details,
                    error,
                    payload,
                }
            }
            code::PUBLISH => {
                let (request, options, topic, payload) = self.outgoing("topic")?;
                Message::Publish {
                    request,
                    options,
                    topic,
                    payload,
                }
            }
            code::CALL => {
                let (request, options, procedure, payload) = self.outgoing("procedure")?;
                Message::Call {
                    request,
                    options,
                    procedure,
                    payload,
                }
            }
            code::SUBSCRIBE => {
                let (request, options, topic) = self.offer("topic")?;
                Message::Subscribe {
                    request,
                    options,
                    topic,
                }
            }
            code::REGISTER => {
                let (request, options, procedure) = self.offer("procedure")?;
                Message::Register {
                    request,
                    options,
                    procedure,
                }
            }
            code::PUBLISHED => Message::Published {
                request: self.request()?,
                publication: PublicationId(self.id("publication")?),
            },
            code::SUBSCRIBED => Message::Subscribed {
                request: self.request()?,
                subscription: SubscriptionId(self.id("subscription")?),
            },
            code::UNSUBSCRIBE => Message::Unsubscribe {
                request: self.request()?,
                subscription: SubscriptionId(self.id("subscription")?),
            },
            code::UNSUBSCRIBED => Message::Unsubscribed {
                request: self.revocable_request()?,
                details: self.optional_dict("details")?,
            },
            code::EVENT => {
                let subscription = SubscriptionId(self.id("subscription")?);
                let publication = PublicationId(self.id("publication")?);
                let details = self.dict("details")?;
                self.options(&details)?;
                let payload = self.payload(&details)?;
                Message::Event {
                    subscription,
                    publication,
                    details,
                    payload,
                }
            }
            code::CANCEL => {
                let (request, options) = self.request_and_options()?;
                Message::Cancel { request, options }
            }
            code::INTERRUPT => {
                let (request, options) = self.request_and_options()?;
                Message::Interrupt { request, options }
            }
            code::RESULT => {
                let (request, details) = self.request_and_options()?;
                let payload = self.payload(&details)?;
                Message::Result {
                    request,
                    details,
                    payload,
                }
            }
            code::YIELD => {
                let (request, options) = self.request_and_options()?;
                let payload = self.payload(&options)?;
                Message::Yield {
                    request,
                    options,
                    payload,
                }
            }
            code::REGISTERED => Message::Registered {
                request: self.request()?,
                registration: RegistrationId(self.id("registration")?),
            },
            code::UNREGISTER => Message::Unregister {
                request: self.request()?,
                registration: RegistrationId(self.id("registration")?),
            },
            code::UNREGISTERED => Message::Unregistered {
                request: self.revocable_request()?,
                details: self.optional_dict("details")?,
            },
            code::INVOCATION => {
                let request = self.request()?;
                let registration = RegistrationId(self.id("registration")?);
                let details = self.dict("details")?;
                let payload = self.payload(&details)?;
                Message::Invocation {
                    request,
                    registration,
                    details,
                    payload,
                }
            }
            code::EVENT_RECEIVED => Message::EventReceived {
                publication: PublicationId(self.id("publication")?),
            },
            code => return Err(DecodeError::Unknown { code }),
        })
    }

    /// PUBLISH and CALL.
    fn outgoing(
        &mut self,
        uri_name: &str,
    ) -> Result<(RequestId, Map, String, Payload), DecodeError> {
        let (request, options) = self.request_and_options()?;
        let (uri, uri_fault) = self.uri(uri_name)?;
        let payload = self.payload(&options)?;
        let is_acknowledged = options.get("acknowledge") == Some(&Value::Bool(true));
        if self.code == code::PUBLISH && !is_acknowledged {
            // Nobody waits for an answer, and some clients leave over one that they did not ask for.
            self.request = None;
        }
        self.answerable(uri_fault)?;
        Ok((request, options, uri, payload))
    }

    /// SUBSCRIBE and REGISTER, where a pattern may have empty components.
    fn offer(&mut self, uri_name: &str) -> Result<(RequestId, Map, String), DecodeError> {
        let (request, options) = self.request_and_options()?;
        let pattern = self.text(uri_name)?;
        if self.reading == Reading::Strict {
            // An unknown policy is refused with the options; until then it is read as the widest.
            let policy = options.get("match").map_or(Match::Exact, |policy| {
                let known = policy.as_text().and_then(Match::from_name);
                known.unwrap_or(Match::Wildcard)
            });
            let checked = UriPattern::parse(&pattern, policy, UriCheck::Loose);
            self.answerable(checked.err().map(|error| format!("{uri_name}: {error}")))?;
        }
        Ok((request, options, pattern))
    }

    fn request_and_options(&mut self) -> Result<(RequestId, Map), DecodeError> {
        let request = self.request()?;
        let options = self.dict("options")?;
        self.options(&options)?;
        Ok((request, options))
    }

    fn request(&mut self) -> Result<RequestId, DecodeError> {
        let request = RequestId(self.id("request")?);
        self.request = Some(request);
        Ok(request)
    }

    /// A router that revokes a subscription or a registration answers no request, and says 0.
    fn revocable_request(&mut self) -> Result<RequestId, DecodeError> {
        if self.values.as_slice().first().and_then(Value::as_u64) == Some(0) {
            drop(self.values.next());
            self.request = Some(RequestId(0));
            return Ok(RequestId(0));
        }
        self.request()
    }

    fn request_type(&mut self) -> Result<u64, DecodeError> {
        let value = self.values.next().unwrap_or_default();
        value
            .as_u64()
            .ok_or_else(|| self.wrong_type("request type", "integer", &value))
    }

    fn id(&mut self, name: &str) -> Result<u64, DecodeError> {
        let value = self.values.next().unwrap_or_default();
        let id = self
            .any_id(&value)
            .ok_or_else(|| self.wrong_type(name, "an id", &value))?;
        if self.reading == Reading::Strict && !(1..=MAX_ID).contains(&id) {
            return Err(self.malformed(format!("{name}: {id} is not in 1 to 2^53")));
        }
        Ok(id)
    }

    fn any_id(&self, value: &Value) -> Option<u64> {
        match value {
            // Some JavaScript encoders write integers beyond 32 bits as doubles.
            Value::F64(number) if self.reading == Reading::Tolerant => whole_number(*number),
            other => other.as_u64(),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, DecodeError> {
        match self.values.next().unwrap_or_default() {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong_type(name, "text", &other)),
        }
    }

    /// Returns the URI and, in strict reading, what is wrong with it: that is refused only when the
    /// rest of the message is found to be well formed.
    fn uri(&mut self, name: &str) -> Result<(String, Option<String>), DecodeError> {
        if self.reading == Reading::Tolerant {
            // Routers have sent numbers here; whatever it is, it is shown to people.
            return match self.values.next() {
                Some(Value::Text(text)) => Ok((text, None)),
                Some(other) => Ok((other.to_string(), None)),
                None => Err(self.malformed(format!("{name} is missing"))),
            };
        }
        let text = self.text(name)?;
        let fault = Uri::parse(&text, UriCheck::Loose)
            .err()
            .map(|error| format!("{name}: {error}"));
        Ok((text, fault))
    }

    fn answerable(&self, fault: Option<String>) -> Result<(), DecodeError> {
        match fault {
            None => Ok(()),
            Some(detail) => Err(DecodeError::InvalidUri {
                code: self.code,
                request: self.request,
                detail,
            }),
        }
    }

    fn dict(&mut self, name: &str) -> Result<Map, DecodeError> {
        match self.values.next() {
            Some(Value::Map(map)) => Ok(map),
            Some(Value::Null) | None if self.reading == Reading::Tolerant => Ok(Map::new()),
            // An empty map that was written by a language which cannot tell it from a list.
            Some(Value::List(items)) if self.reading == Reading::Tolerant && items.is_empty() => {
                Ok(Map::new())
            }
            other => Err(self.wrong_type(name, "a dict", &other.unwrap_or_default())),
        }
    }

    fn optional_dict(&mut self, name: &str) -> Result<Map, DecodeError> {
        if self.values.as_slice().is_empty() {
            return Ok(Map::new());
        }
        self.dict(name)
    }

    fn options(&self, options: &Map) -> Result<(), DecodeError> {
        if self.reading == Reading::Tolerant {
            return Ok(());
        }
        strict::check_options(self.code, options).map_err(|detail| self.malformed(detail))
    }

    fn payload(&mut self, options: &Map) -> Result<Payload, DecodeError> {
        let args = match self.values.next() {
            None => return Ok(Payload::default()),
            Some(Value::List(args)) => args,
            Some(content @ (Value::Bytes(_) | Value::Text(_)))
                if self.reading == Reading::Tolerant || options.contains_key("enc_algo") =>
            {
                return Ok(Payload::from_sealed(content));
            }
            Some(Value::Null) if self.reading == Reading::Tolerant => Vec::new(),
            Some(Value::Map(map)) if self.reading == Reading::Tolerant && map.is_empty() => {
                Vec::new()
            }
            Some(other) => return Err(self.wrong_type("args", "a list", &other)),
        };
        let kwargs = if self.values.as_slice().is_empty() {
            Map::new()
        } else {
            self.dict("kwargs")?
        };
        Ok(Payload::new(args, kwargs))
    }

    /// Looks for the request of a message that cannot be read as a whole.
    fn find_request(&mut self) {
        let index = match self.code {
            code::HELLO
            | code::WELCOME
            | code::ABORT
            | code::CHALLENGE
            | code::AUTHENTICATE
            | code::GOODBYE
            | code::EVENT
            | code::EVENT_RECEIVED => return,
            // Some routers complain of a YIELD, whose ids are another sequence than our requests'.
            code::ERROR if self.values.as_slice().first() == Some(&Value::from(code::YIELD)) => {
                return;
            }
            code::ERROR => 1,
            _ => 0,
        };
        self.request = self
            .values
            .as_slice()
            .get(index)
            .and_then(|value| self.any_id(value))
            .map(RequestId);
    }

    fn wrong_type(&self, name: &str, expected: &str, found: &Value) -> DecodeError {
        self.malformed(format!(
            "{name}: found {}, expected {expected}",
            found.type_name()
        ))
    }

    fn malformed(&self, detail: String) -> DecodeError {
        DecodeError::Malformed {
            code: self.code,
            request: self.request,
            detail,
        }
    }
}

/// Returns the integer that a double stands for exactly, if it does.
fn whole_number(number: f64) -> Option<u64> {
    const MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() != 0.0 || !(0.0..=MAX).contains(&number) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative and at most 2^53, as just checked"
    )]
    Some(number as u64)
}
