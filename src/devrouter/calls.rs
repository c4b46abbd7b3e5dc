//! What a realm does about procedures: REGISTER, CALL, CANCEL and the callee's answers.

use std::time::Duration;

use super::dealer::{Call, Callee, Limit, Party, Registration, Taken, Target};
use super::options::{custom, is_set};
use super::realm::{RESERVED, State, Violation, pattern};
use crate::value::{Map, Value};
use crate::wamp::id::{RegistrationId, RequestId, SessionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::options::{CancelMode, Invoke};

impl State {
    pub(super) fn call(
        &mut self,
        caller: Party,
        options: &Map,
        procedure: &str,
        payload: Payload,
    ) -> Result<(), Violation> {
        if self.dealer.call(caller).is_some() {
            let request = caller.request;
            return Err(Violation(format!("request {request} is open already")));
        }
        if let Some(option) = self.unsupported(caller.session, code::CALL, options) {
            self.refuse_option(caller.session, code::CALL, caller.request, option);
            return Ok(());
        }
        // Whatever a pattern covers, this part of the names is the router's.
        if procedure.starts_with(RESERVED) {
            self.call_meta(caller, procedure, &payload);
            return Ok(());
        }
        if self.dealer.open_calls(caller.session) >= self.limits.open_calls {
            let text = format!("{} calls are open already", self.limits.open_calls);
            self.refuse_call(caller, "wamp.error.unavailable", text);
            return Ok(());
        }
        match self.dealer.route(procedure) {
            Some(target) => self.invoke(caller, options, procedure, payload, target),
            None => self.refuse_procedure(caller, procedure),
        }
        Ok(())
    }

    pub(super) fn refuse_procedure(&self, caller: Party, procedure: &str) {
        let text = format!("nobody has registered `{procedure}`");
        self.refuse_call(caller, "wamp.error.no_such_procedure", text);
    }

    fn invoke(
        &mut self,
        caller: Party,
        options: &Map,
        procedure: &str,
        payload: Payload,
        target: Target,
    ) {
        let mut details: Map = custom(options).collect();
        if target.is_pattern {
            details.insert("procedure".to_owned(), Value::from(procedure));
        }
        let is_wanted = target.callee.discloses_caller || is_set(options, "disclose_me");
        self.disclose(caller.session, options, is_wanted, "caller", &mut details);
        let Some(callee) = self.sessions.get_mut(&target.session) else {
            // A session's registrations leave with it, so this cannot be.
            let text = "the callee is gone".to_owned();
            return self.refuse_call(caller, "wamp.error.no_eligible_callee", text);
        };
        // Also of a callee that announces nothing, whom the specification would have us not ask:
        // autobahn and wampy in JavaScript send progress all the same. What such a callee sends
        // after the end of its call is dropped.
        let receives_progress = is_set(options, "receive_progress");
        if receives_progress {
            details.insert("receive_progress".to_owned(), Value::Bool(true));
        }
        let mut limit = None;
        if let Some(millis) = options.get("timeout").and_then(Value::as_u64)
            && millis > 0
        {
            if target.callee.keeps_timeouts && callee.features.keeps_timeouts {
                details.insert("timeout".to_owned(), Value::from(millis));
            } else {
                limit = Limit::new(Duration::from_millis(millis));
            }
        }
        let request = callee.invocations.next_id();
        let invocation = Message::Invocation {
            request,
            registration: target.registration,
            details,
            payload,
        };
        match callee.outbox.encode(&invocation) {
            Ok(frame) => {
                callee.outbox.push(frame);
                let call = Call {
                    callee: Party {
                        session: target.session,
                        request,
                    },
                    receives_progress,
                    limit,
                };
                self.dealer.open(caller, call);
            }
            Err((error, text)) => self.refuse_call(caller, error, text),
        }
    }

    /// Reference: WAMP Advanced Profile, "Call Canceling".
    pub(super) fn cancel(&mut self, caller: Party, options: &Map) {
        // Without a call: the answer and the CANCEL have crossed.
        let Some(Call { callee, .. }) = self.dealer.call(caller) else {
            return;
        };
        // Another name is refused when the message is read; without any, the caller does not wait.
        let mode = options.get("mode").and_then(Value::as_text);
        let mode = mode.and_then(CancelMode::from_name).unwrap_or_default();
        let can_be_interrupted = self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.features.can_be_interrupted);
        let waits = match mode {
            CancelMode::Skip => false,
            CancelMode::Kill => {
                self.interrupt(callee, mode, "wamp.error.canceled");
                can_be_interrupted
            }
            CancelMode::KillNoWait => {
                self.interrupt(callee, mode, "wamp.error.canceled");
                false
            }
        };
        if !waits {
            self.dealer.finish(callee);
            let text = "the caller has canceled the call".to_owned();
            self.refuse_call(caller, "wamp.error.canceled", text);
        }
    }

    /// Ends the calls of a session that have taken too long.
    ///
    /// Reference: WAMP Advanced Profile, "Call Timeouts".
    pub(super) fn expire(&mut self, caller: SessionId) {
        let now = tokio::time::Instant::now();
        while let Some((caller, callee)) = self.dealer.expire(caller, now) {
            let text = "no answer in the time that the caller allows".to_owned();
            self.refuse_call(caller, "wamp.error.timeout", text);
            self.interrupt(callee, CancelMode::KillNoWait, "wamp.error.timeout");
        }
    }

    /// Asks a callee to stop, if it understands that.
    pub(super) fn interrupt(&self, callee: Party, mode: CancelMode, reason: &str) {
        let options = Map::from_iter([
            ("mode".to_owned(), Value::from(mode.name())),
            ("reason".to_owned(), Value::from(reason)),
        ]);
        if self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.features.can_be_interrupted)
        {
            let request = callee.request;
            self.send(callee.session, &Message::Interrupt { request, options });
        }
    }

    /// A callee has yielded.
    pub(super) fn answer(
        &mut self,
        callee: Party,
        mut options: Map,
        payload: Payload,
    ) -> Result<(), Violation> {
        // Without a call: it was canceled, or its caller is gone.
        let Some(caller) = self.dealer.caller_of(callee) else {
            return Ok(());
        };
        let is_progress = is_set(&options, "progress");
        if is_progress {
            let call = self.dealer.call(caller);
            if !call.is_some_and(|call| call.receives_progress) {
                return Err(Violation("progress that nobody asked for".to_owned()));
            }
            self.dealer.extend(caller);
        } else {
            options.shift_remove("progress");
            self.dealer.finish(callee);
        }
        let result = Message::Result {
            request: caller.request,
            details: options,
            payload,
        };
        if let Err((error, text)) = self.try_send(caller.session, &result) {
            self.refuse_call(caller, error, text);
            // A caller that misses a part is not told the rest.
            if is_progress {
                self.dealer.finish(callee);
                self.interrupt(callee, CancelMode::KillNoWait, error);
            }
        }
        Ok(())
    }

    /// A callee has failed.
    pub(super) fn fail(&mut self, callee: Party, details: Map, error: String, payload: Payload) {
        let Some(caller) = self.dealer.finish(callee) else {
            return;
        };
        let message = Message::Error {
            request_type: code::CALL,
            request: caller.request,
            details,
            error,
            payload,
        };
        if let Err((error, text)) = self.try_send(caller.session, &message) {
            self.refuse_call(caller, error, text);
        }
    }

    pub(super) fn register(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        procedure: &str,
    ) {
        if let Some(option) = self.unsupported(session, code::REGISTER, options) {
            return self.refuse_option(session, code::REGISTER, request, option);
        }
        let refuse = |error: &str, text: String| {
            self.refuse(session, code::REGISTER, request, error, text);
        };
        let pattern = match pattern(options, procedure) {
            _ if procedure.starts_with(RESERVED) => {
                let text = "`wamp.` is the protocol's own".to_owned();
                return refuse("wamp.error.invalid_uri", text);
            }
            Ok(pattern) => pattern,
            Err(text) => return refuse("wamp.error.invalid_uri", text),
        };
        if self.dealer.registrations.count(session) >= self.limits.entries {
            let text = format!("you have {} registrations already", self.limits.entries);
            return refuse("wamp.error.unavailable", text);
        }
        // Another name is refused when the message is read.
        let invoke = options.get("invoke").and_then(Value::as_text);
        let invoke = invoke.and_then(Invoke::from_name).unwrap_or_default();
        let callee = Callee {
            discloses_caller: is_set(options, "disclose_caller"),
            keeps_timeouts: is_set(options, "forward_timeout"),
        };
        match self.dealer.register(session, pattern, invoke, callee) {
            Ok((registration, is_new)) => {
                self.send(
                    session,
                    &Message::Registered {
                        request,
                        registration,
                    },
                );
                self.announce_joining::<Registration>(session, registration, is_new);
            }
            Err(taken) => {
                let text = match taken {
                    Taken::BySelf => format!("you have registered `{procedure}` already"),
                    Taken::Alone => format!("`{procedure}` is registered already"),
                    Taken::Shared(invoke) => format!(
                        "`{procedure}` is registered already, and shared by `{}`",
                        invoke.name()
                    ),
                };
                let error = "wamp.error.procedure_already_exists";
                self.refuse(session, code::REGISTER, request, error, text);
            }
        }
    }

    pub(super) fn unregister(
        &mut self,
        session: SessionId,
        request: RequestId,
        registration: RegistrationId,
    ) {
        if let Some(parting) = self.dealer.registrations.part(session, registration) {
            let details = Map::new();
            self.send(session, &Message::Unregistered { request, details });
            self.announce_parting::<Registration>(session, parting);
        } else {
            let error = "wamp.error.no_such_registration";
            let text = format!("you have no registration {registration}");
            self.refuse(session, code::UNREGISTER, request, error, text);
        }
    }
}
