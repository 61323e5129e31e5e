//! The languages that clients say they are written in. It may lie: Node says JAVA.

/// The `language` of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    #[default]
    Java,
    Cpp,
    Dotnet,
    Python,
    Delphi,
    Erlang,
    Ruby,
    Other,
    Http,
    Go,
    Php,
    Oms,
    Rust,
    NodeJs,
    /// A name or number that this list does not have; never an error.
    Unknown,
}

/// Names in the order of their bytes in the binary header.
const NAMES: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    pub fn from_byte(byte: u8) -> Self {
        NAMES.get(usize::from(byte)).map_or(Self::Unknown, |(language, _)| *language)
    }

    pub fn from_name(name: &[u8]) -> Self {
        let found = NAMES.iter().find(|(_, known)| known.as_bytes() == name);
        found.map_or(Self::Unknown, |(language, _)| *language)
    }

    /// The enum name that Java clients print; an unknown one prints as OTHER.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(language, _)| *language == self);
        found.map_or("OTHER", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names_lead_to_the_same_language() {
        for (byte, (language, name)) in NAMES.iter().enumerate() {
            assert_eq!(Language::from_byte(byte as u8), *language);
            assert_eq!(Language::from_name(name.as_bytes()), *language);
            assert_eq!(language.name(), *name);
        }
        assert_eq!(Language::from_byte(14), Language::Unknown);
        assert_eq!(Language::from_name(b"COBOL"), Language::Unknown);
    }
}
