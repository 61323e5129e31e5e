//! What a request comes to, and how it becomes a frame.

use std::fmt;

use crate::wire::code::response;
use crate::wire::{FieldError, FrameWriter, Request};

pub(super) type Handled = Result<Answer, Refusal>;

/// A request that was fulfilled.
pub(super) struct Answer {
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// A request that was not, and the rule it broke.
#[derive(Debug)]
pub(super) struct Refusal {
    code: i32,
    remark: String,
}

impl Answer {
    pub fn done() -> Self {
        Self { fields: Vec::new(), body: Vec::new() }
    }

    pub fn body(body: Vec<u8>) -> Self {
        Self::done().with_body(body)
    }

    pub fn with_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    pub fn field(mut self, key: &'static str, value: &str) -> Self {
        self.fields.push((key, value.to_owned()));
        self
    }

    pub fn maybe_field(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }
}

impl Refusal {
    pub fn new(code: i32, remark: String) -> Self {
        Self { code, remark }
    }

    /// The peer's mistake, said as the rule it broke.
    pub fn malformed(what: impl fmt::Display) -> Self {
        Self::new(response::SYSTEM_ERROR, what.to_string())
    }

    /// A table or text would grow beyond its bound.
    pub fn over(what: &str, limit: usize) -> Self {
        Self::malformed(format_args!("too much: {what}, the limit is {limit}"))
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::malformed(error)
    }
}

/// Appends the reply to `request`.
pub(super) fn reply(request: &Request<'_>, handled: Handled, out: &mut Vec<u8>) {
    match handled {
        Ok(answer) => {
            let code = response::SUCCESS;
            let mut writer = FrameWriter::reply(out, request.codec, request.opaque, code);
            for (key, value) in &answer.fields {
                writer.field(key, value);
            }
            writer.finish_with_body(&answer.body);
        }
        Err(refusal) => {
            FrameWriter::reply(out, request.codec, request.opaque, refusal.code)
                .remark(&refusal.remark)
                .finish(0);
        }
    }
}
