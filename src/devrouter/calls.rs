//! What a realm does about procedures: REGISTER, CALL, CANCEL and the callee's answers.

use super::dealer::Party;
use super::options::{is_set, unsupported};
use super::realm::{State, Violation};
use crate::value::{Map, Value};
use crate::wamp::id::{RegistrationId, RequestId, SessionId};
use crate::wamp::message::{Message, Payload, code};

impl State {
    pub(super) fn call(
        &mut self,
        caller: Party,
        options: &Map,
        procedure: &str,
        payload: Payload,
    ) -> Result<(), Violation> {
        if self.dealer.callee_of(caller).is_some() {
            let request = caller.request;
            return Err(Violation(format!("request {request} is open already")));
        }
        if let Some(option) = unsupported(code::CALL, options) {
            self.refuse_option(caller.session, code::CALL, caller.request, option);
            return Ok(());
        }
        let Some(registration) = self.dealer.registration(procedure) else {
            let text = format!("nobody has registered `{procedure}`");
            self.refuse_call(caller, "wamp.error.no_such_procedure", text);
            return Ok(());
        };
        if self.dealer.open_calls(caller.session) >= self.limits.open_calls {
            let text = format!("{} calls are open already", self.limits.open_calls);
            self.refuse_call(caller, "wamp.error.unavailable", text);
            return Ok(());
        }
        let mut details = Map::new();
        if registration.discloses_caller || is_set(options, "disclose_me") {
            self.disclose(caller.session, "caller", &mut details);
        }
        let Some(callee) = self.sessions.get_mut(&registration.callee) else {
            // A session's registrations leave with it, so this cannot be.
            let text = "the callee is gone".to_owned();
            self.refuse_call(caller, "wamp.error.no_eligible_callee", text);
            return Ok(());
        };
        let request = callee.invocations.next_id();
        let invocation = Message::Invocation {
            request,
            registration: registration.id,
            details,
            payload,
        };
        match callee.outbox.encode(&invocation) {
            Ok(frame) => {
                callee.outbox.push(frame);
                let session = registration.callee;
                self.dealer.open(caller, Party { session, request });
            }
            Err(text) => self.refuse_call(caller, "wamp.error.invalid_payload", text),
        }
        Ok(())
    }

    /// Reference: WAMP Advanced Profile, "Call Canceling".
    pub(super) fn cancel(&mut self, caller: Party, options: &Map) {
        // Without a call: the answer and the CANCEL have crossed.
        let Some(callee) = self.dealer.callee_of(caller) else {
            return;
        };
        let mode = options.get("mode").and_then(Value::as_text);
        let can_be_interrupted = self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.can_be_interrupted);
        let (interrupts, waits) = match mode {
            Some("skip") => (None, false),
            Some("kill") => (Some("kill"), can_be_interrupted),
            _ => (Some("killnowait"), false),
        };
        if let Some(mode) = interrupts {
            self.interrupt(callee, mode);
        }
        if !waits {
            self.dealer.finish(callee);
            let text = "the caller has canceled the call".to_owned();
            self.refuse_call(caller, "wamp.error.canceled", text);
        }
    }

    pub(super) fn interrupt(&mut self, callee: Party, mode: &str) {
        let options = Map::from_iter([
            ("mode".to_owned(), Value::from(mode)),
            ("reason".to_owned(), Value::from("wamp.error.canceled")),
        ]);
        if self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.can_be_interrupted)
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
        if is_set(&options, "progress") {
            return Err(Violation("progress that nobody asked for".to_owned()));
        }
        options.shift_remove("progress");
        // Without a call: it was canceled, or its caller is gone.
        let Some(caller) = self.dealer.finish(callee) else {
            return Ok(());
        };
        let result = Message::Result {
            request: caller.request,
            details: options,
            payload,
        };
        if let Err(text) = self.try_send(caller.session, &result) {
            self.refuse_call(caller, "wamp.error.invalid_payload", text);
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
        if let Err(text) = self.try_send(caller.session, &message) {
            self.refuse_call(caller, "wamp.error.invalid_payload", text);
        }
    }

    pub(super) fn register(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        procedure: String,
    ) {
        if let Some(option) = unsupported(code::REGISTER, options) {
            return self.refuse_option(session, code::REGISTER, request, option);
        }
        if procedure.starts_with("wamp.") {
            let text = "`wamp.` is the protocol's own".to_owned();
            return self.refuse(
                session,
                code::REGISTER,
                request,
                "wamp.error.invalid_uri",
                text,
            );
        }
        if self.dealer.count(session) >= self.limits.entries {
            let text = format!("you have {} registrations already", self.limits.entries);
            let error = "wamp.error.unavailable";
            return self.refuse(session, code::REGISTER, request, error, text);
        }
        let text = format!("`{procedure}` is registered already");
        let discloses_caller = is_set(options, "disclose_caller");
        match self.dealer.register(session, procedure, discloses_caller) {
            Some(registration) => self.send(
                session,
                &Message::Registered {
                    request,
                    registration,
                },
            ),
            None => {
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
        if self.dealer.unregister(session, registration) {
            let details = Map::new();
            self.send(session, &Message::Unregistered { request, details });
        } else {
            let error = "wamp.error.no_such_registration";
            let text = format!("you have no registration {registration}");
            self.refuse(session, code::UNREGISTER, request, error, text);
        }
    }
}
