//! Typed headers of requests and replies off the path of sends and pulls. Each is
//! decoded from the fields of a header and encoded into one; a family a file.

pub mod admin;
pub mod clients;
pub mod groups;
pub mod namesrv;
pub mod offsets;
pub mod pop;

use super::ext::{ExtFields, FieldError, Value};
use super::reply::FrameWriter;

/// A type that a field of a header can have.
pub trait FieldType<'a>: Sized {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError>;
    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>);
}

/// A struct with the field name of the wire beside each member, and its `decode` and
/// `encode`. The type says what may be absent: an `Option`, and a `bool`, which is
/// false then.
macro_rules! header {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $($(#[$member_doc:meta])* $member:ident: $kind:ty = $key:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $($(#[$member_doc])* pub $member: $kind,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            pub fn decode(
                ext: &$crate::wire::ExtFields $(<$life>)?,
            ) -> Result<Self, $crate::wire::FieldError> {
                Ok(Self { $($member: $crate::wire::headers::FieldType::read(ext, $key)?,)* })
            }

            pub fn encode(&self, writer: &mut $crate::wire::FrameWriter<'_>) {
                $($crate::wire::headers::FieldType::write(&self.$member, $key, writer);)*
            }
        }
    };
}
pub(crate) use header;

impl<'a> FieldType<'a> for Value<'a> {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        ext.need(key)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_value(key, *self);
    }
}

impl<'a> FieldType<'a> for Option<Value<'a>> {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        Ok(ext.get(key))
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        self.iter().for_each(|value| value.write(key, writer));
    }
}

impl<'a> FieldType<'a> for i32 {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        ext.need_i32(key)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_i64(key, i64::from(*self));
    }
}

impl<'a> FieldType<'a> for Option<i32> {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        ext.maybe_i32(key)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        self.iter().for_each(|value| value.write(key, writer));
    }
}

impl<'a> FieldType<'a> for i64 {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        ext.need_i64(key)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_i64(key, *self);
    }
}

impl<'a> FieldType<'a> for Option<i64> {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        ext.maybe_i64(key)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        self.iter().for_each(|value| value.write(key, writer));
    }
}

impl<'a> FieldType<'a> for bool {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        Ok(ext.flag(key))
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_bool(key, *self);
    }
}

impl<'a> FieldType<'a> for Option<bool> {
    fn read(ext: &ExtFields<'a>, key: &'static str) -> Result<Self, FieldError> {
        Ok(ext.get(key).map(|value| value.bool()))
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        self.iter().for_each(|value| value.write(key, writer));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, Request, parse_prefix};
    use super::*;

    header! {
        /// One member of each type.
        pub struct Sample<'a> {
            text: Value<'a> = "text",
            maybe_text: Option<Value<'a>> = "maybeText",
            int: i32 = "int",
            maybe_int: Option<i32> = "maybeInt",
            long: i64 = "long",
            maybe_long: Option<i64> = "maybeLong",
            flag: bool = "flag",
            maybe_flag: Option<bool> = "maybeFlag",
        }
    }

    const FULL: Sample<'static> = Sample {
        text: Value::of("a \"b\" \u{1}\u{e9}"),
        maybe_text: Some(Value::of("x")),
        int: i32::MIN,
        maybe_int: Some(0),
        long: i64::MAX,
        maybe_long: Some(-1),
        flag: true,
        maybe_flag: Some(false),
    };

    fn encoded(sample: &Sample<'_>, codec: Codec) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = FrameWriter::request(&mut out, codec, 1, 1, false);
        sample.encode(&mut writer);
        writer.finish(0);
        out
    }

    fn with_ext<T>(frame: &[u8], read: impl FnOnce(&ExtFields<'_>) -> T) -> T {
        let prefix = parse_prefix(frame).unwrap().unwrap();
        let (header, body) = prefix.split(frame).unwrap();
        read(&Request::decode(prefix.codec, header, body).unwrap().ext)
    }

    #[test]
    fn every_type_of_field_is_read_back_by_both_codecs() {
        let bare = Sample {
            maybe_text: None,
            maybe_int: None,
            maybe_long: None,
            flag: false,
            maybe_flag: None,
            ..FULL
        };
        for sample in [FULL, bare] {
            for (first, second) in [
                (Codec::Json, Codec::Binary),
                (Codec::Binary, Codec::Json),
                (Codec::Json, Codec::Json),
            ] {
                // Through one codec and, from there, through the other: values keep
                // their meaning when they are handed on as they lie.
                with_ext(&encoded(&sample, first), |ext| {
                    let read = Sample::decode(ext).unwrap();
                    assert_eq!(read, sample);
                    with_ext(&encoded(&read, second), |ext| {
                        assert_eq!(Sample::decode(ext).unwrap(), sample);
                    });
                });
            }
        }
    }

    #[test]
    fn a_missing_or_wrong_field_is_named() {
        let mut out = Vec::new();
        FrameWriter::request(&mut out, Codec::Json, 1, 1, false)
            .field("text", "")
            .field("int", "7x")
            .finish(0);
        with_ext(&out, |ext| {
            assert_eq!(Sample::decode(ext), Err(FieldError::Invalid("int")));
        });
        let mut out = Vec::new();
        FrameWriter::request(&mut out, Codec::Json, 1, 1, false).field("int", "7").finish(0);
        with_ext(&out, |ext| {
            assert_eq!(Sample::decode(ext), Err(FieldError::Missing("text")));
        });
    }
}
