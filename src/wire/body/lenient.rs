//! Readers for values that clients of different languages write differently.

use serde::{Deserialize, Deserializer};

/// A number, or its text, or a fraction whose whole part is meant.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Fraction(f64),
    Text(String),
    Nothing(()),
}

impl Number {
    fn value(&self) -> Option<i64> {
        match self {
            Self::Whole(value) => Some(*value),
            Self::Fraction(value) => Some(*value as i64),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing(()) => None,
        }
    }
}

/// An i64 as number or text; what is neither counts as 0.
pub fn int64<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(Number::deserialize(from)?.value().unwrap_or(0))
}

/// An i32 as number or text, wrapped like Java's cast; what is neither counts as 0.
pub fn int32<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    Ok(int64(from)? as i32)
}

/// i32 values as numbers or texts; those that are neither are left out.
pub fn int32_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i32>, D::Error> {
    let numbers = Option::<Vec<Number>>::deserialize(from)?.unwrap_or_default();
    Ok(numbers.iter().filter_map(|number| Some(number.value()? as i32)).collect())
}

/// Anything that has a default, which stands for null as well.
pub fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An enum of Java: written as its name, read from its name or its number (C++ sends
/// numbers); what is unknown reads as the default.
macro_rules! java_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$attr:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$attr])* $variant,)* }

        impl $name {
            const ALL: &[(Self, &str)] = &[$((Self::$variant, $text),)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                let found = Self::ALL.iter().find(|(_, known)| *known == name);
                found.map(|(value, _)| *value)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(match $crate::wire::body::lenient::NameOrNumber::deserialize(from)? {
                    $crate::wire::body::lenient::NameOrNumber::Name(name) => Self::from_name(&name),
                    $crate::wire::body::lenient::NameOrNumber::Number(number) => {
                        usize::try_from(number)
                            .ok()
                            .and_then(|number| Self::ALL.get(number))
                            .map(|(value, _)| *value)
                    }
                    $crate::wire::body::lenient::NameOrNumber::Nothing(()) => None,
                }
                .unwrap_or_default())
            }
        }
    };
}
pub(super) use java_enum;

#[derive(Deserialize)]
#[serde(untagged)]
pub enum NameOrNumber {
    Name(String),
    Number(i64),
    Nothing(()),
}
