//! Distinguished names: whose a certificate is, in one spelling for each name, however a certificate encodes and a person
//! writes it.

use std::fmt::Write;

use super::Error;

/// The kinds of attributes that have a name: their number, the name that is written, which is that of `openssl`, and others
/// that are understood. Capitals do not count.
const KINDS: [(&str, &str, &[&str]); 27] = [
    ("2.5.4.3", "CN", &["commonName"]),
    ("2.5.4.4", "SN", &["surname"]),
    ("2.5.4.5", "serialNumber", &[]),
    ("2.5.4.6", "C", &["countryName"]),
    ("2.5.4.7", "L", &["localityName"]),
    ("2.5.4.8", "ST", &["S", "stateOrProvinceName"]),
    ("2.5.4.9", "street", &["streetAddress"]),
    ("2.5.4.10", "O", &["organizationName"]),
    ("2.5.4.11", "OU", &["organizationalUnitName"]),
    ("2.5.4.12", "title", &[]),
    ("2.5.4.13", "description", &[]),
    ("2.5.4.15", "businessCategory", &[]),
    ("2.5.4.17", "postalCode", &[]),
    ("2.5.4.20", "telephoneNumber", &[]),
    ("2.5.4.41", "name", &[]),
    ("2.5.4.42", "GN", &["givenName"]),
    ("2.5.4.43", "initials", &[]),
    ("2.5.4.44", "generationQualifier", &[]),
    ("2.5.4.46", "dnQualifier", &[]),
    ("2.5.4.65", "pseudonym", &[]),
    ("2.5.4.97", "organizationIdentifier", &[]),
    ("0.9.2342.19200300.100.1.1", "UID", &["userId"]),
    ("0.9.2342.19200300.100.1.25", "DC", &["domainComponent"]),
    ("1.2.840.113549.1.9.1", "emailAddress", &["E", "email"]),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL", &[]),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST", &[]),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC", &[]),
];

/// What is escaped wherever it is in a value, besides control characters.
const SPECIAL: &[u8] = b"\"+,;<>\\";

/// A distinguished name as RFC 4514 writes it: the most specific part first, without spaces between the parts, in UTF-8:
/// `CN=web1,O=Example`. Two are equal when they have the same kinds of attributes with the same text in the same order; how a
/// certificate encodes the text, and in which order it has what stands beside each other (`CN=a+UID=b`), is all one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// In DER, where it is no text.
    Der(Vec<u8>),
}

impl Subject {
    /// Reads what a person wrote, or `openssl x509 -noout -subject -nameopt RFC2253` printed.
    ///
    /// # Errors
    /// It is no distinguished name, or has an attribute of a kind that is unknown by that name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::invalid(format!("A subject is written CN=web1,O=Example; {why}"));
        let mut parts = Vec::new();
        for part in split(text, b',') {
            let mut attributes = Vec::new();
            for attribute in split(part, b'+') {
                let pair = attribute.split_once('=').map(|(kind, value)| (kind.trim(), value.trim_start()));
                let (kind, value) = pair.ok_or_else(|| refuse(format!("there is no = in {attribute:?}")))?;
                let kind = known_kind(kind)
                    .ok_or_else(|| refuse(format!("{kind:?} is unknown: write its number, like 2.5.4.3")))?;
                let value = Value::parse(value).ok_or_else(|| {
                    refuse(format!(
                        "{value:?} is no value: \\ goes before each of , + \" \\ < > ; and before a # in front"
                    ))
                })?;
                attributes.push((kind, value));
            }
            parts.push(attributes);
        }
        Ok(Self::spell(parts))
    }

    /// That of a certificate: its parts, the most specific last, with the number and the DER of each attribute. `None` where
    /// it has none.
    #[must_use]
    pub fn of(parts: Vec<Vec<(String, Vec<u8>)>>) -> Option<Self> {
        let part = |attributes: Vec<(String, Vec<u8>)>| {
            attributes.into_iter().map(|(number, der)| (name_of(number), Value::of_der(der))).collect()
        };
        let spelt = Self::spell(parts.into_iter().rev().map(part).collect());
        (!spelt.0.is_empty()).then_some(spelt)
    }

    fn spell(parts: Vec<Vec<(String, Value)>>) -> Self {
        let parts = parts.into_iter().map(|mut attributes| {
            attributes.sort();
            let all: Vec<String> = attributes.iter().map(|(kind, value)| format!("{kind}={}", value.spell())).collect();
            all.join("+")
        });
        Self(parts.collect::<Vec<_>>().join(","))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn name_of(number: String) -> String {
    KINDS.iter().find(|(known, ..)| *known == number).map_or(number, |(_, name, _)| (*name).to_owned())
}

/// The name of a kind that was written as a name or as a number.
fn known_kind(text: &str) -> Option<String> {
    let is = |name: &&str| name.eq_ignore_ascii_case(text);
    if let Some((_, name, _)) = KINDS.iter().find(|(_, name, others)| is(name) || others.iter().any(is)) {
        return Some((*name).to_owned());
    }
    let text = text.get(..4).filter(|begin| begin.eq_ignore_ascii_case("oid.")).map_or(text, |_| &text[4..]);
    let is_number = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    (text.contains('.') && text.split('.').all(is_number)).then(|| name_of(text.to_owned()))
}

/// The parts between separators that are not escaped.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut begin, mut is_escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == separator && !is_escaped {
            parts.push(&text[begin..at]);
            begin = at + 1;
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    parts.push(&text[begin..]);
    parts
}

impl Value {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.strip_prefix('#') {
            let hex = hex.trim_end().as_bytes();
            let bytes: Option<Vec<u8>> = hex.chunks(2).map(|pair| byte_of(*pair.first()?, *pair.get(1)?)).collect();
            return bytes.filter(|bytes| !bytes.is_empty()).map(Self::of_der);
        }
        // Up to here nothing can be cut off: spaces at the end do not count, but those that are escaped.
        let (mut bytes, mut kept, mut rest) = (Vec::new(), 0, text.bytes());
        while let Some(byte) = rest.next() {
            match byte {
                b'\\' => {
                    let first = rest.next()?;
                    let is_itself = SPECIAL.contains(&first) || b" #=".contains(&first);
                    bytes.push(if is_itself { first } else { byte_of(first, rest.next()?)? });
                    kept = bytes.len();
                }
                _ if SPECIAL.contains(&byte) => return None,
                _ => {
                    bytes.push(byte);
                    kept = if byte == b' ' { kept } else { bytes.len() };
                }
            }
        }
        bytes.truncate(kept);
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(Self::Text)
    }

    /// The text of a string, whichever kind of string it is.
    fn of_der(der: Vec<u8>) -> Self {
        let text = contents(&der).and_then(|(tag, bytes)| match tag {
            // UTF8String, NumericString, PrintableString, IA5String and VisibleString.
            0x0c | 0x12 | 0x13 | 0x16 | 0x1a => String::from_utf8(bytes.to_vec()).ok(),
            // TeletexString is Latin-1 to all who write it.
            0x14 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
            // BMPString.
            0x1e if bytes.len().is_multiple_of(2) => {
                let pairs = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(pairs).collect::<Result<_, _>>().ok()
            }
            _ => None,
        });
        text.map_or(Self::Der(der), Self::Text)
    }

    fn spell(&self) -> String {
        let mut spelt = String::new();
        match self {
            Self::Der(der) => {
                spelt.push('#');
                der.iter().for_each(|byte| _ = write!(spelt, "{byte:02X}"));
            }
            Self::Text(text) => {
                let last = text.char_indices().last().map_or(0, |(at, _)| at);
                for (at, letter) in text.char_indices() {
                    let is_special = letter.is_ascii() && SPECIAL.contains(&(letter as u8));
                    let is_at_an_end = letter == ' ' && (at == 0 || at == last) || letter == '#' && at == 0;
                    if letter.is_control() {
                        letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| _ = write!(spelt, "\\{byte:02X}"));
                        continue;
                    }
                    if is_special || is_at_an_end {
                        spelt.push('\\');
                    }
                    spelt.push(letter);
                }
            }
        }
        spelt
    }
}

fn byte_of(high: u8, low: u8) -> Option<u8> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The tag and the contents of what is in DER, if that is all there is.
fn contents(der: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    (rest.len() == length).then_some((*tag, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Subject::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).as_str().to_owned()
    }

    #[test]
    fn every_way_to_write_a_name_comes_to_one() {
        for (text, wanted) in [
            ("CN=web1,O=Example", "CN=web1,O=Example"),
            (" cn = web1 , organizationName=Example ", "CN=web1,O=Example"),
            ("2.5.4.3=web1,OID.2.5.4.10=#0C074578616D706C65", "CN=web1,O=Example"),
            (r"CN=M\C3\BCller", "CN=Müller"),
            (r"CN=\4D\fcller".replace(r"\fc", r"\C3\bc").as_str(), "CN=Müller"),
            (r"CN=#1E06004D00FC006C", "CN=Mül"),
            (r"CN=#14034DFC6C", "CN=Mül"),
            (r"E=a@b.c,emailaddress=d@e.f", "emailAddress=a@b.c,emailAddress=d@e.f"),
            ("UID=b+CN=a,DC=x", "CN=a+UID=b,DC=x"),
            (r"O=Example\, Inc.\ ,CN=\#a\+b=c  ", r"O=Example\, Inc.\ ,CN=\#a\+b=c"),
            (r"CN=\20a\20", r"CN=\ a\ "),
            (r"CN=\0A", r"CN=\0A"),
            ("1.2.3.4=#0403616263", "1.2.3.4=#0403616263"),
            (r"CN=a\\,O=b", r"CN=a\\,O=b"),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
            assert_eq!(parsed(wanted), wanted);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "nonsense",
            "CN",
            "CN=",
            "CN=a,",
            ",CN=a",
            "CN=a,,O=b",
            "=a",
            "XY=a",
            "2.=a",
            "3=a",
            "CN=#",
            "CN=#0",
            "CN=#0G",
            r"CN=a\",
            r"CN=\x1",
            r"CN=\ff",
            "CN=\"a\"",
            "CN=a;O=b",
            "CN=<a>",
            "CN=a+",
            "/CN=a/O=b",
        ] {
            let refused = Subject::parse(text);
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
    }

    #[test]
    fn different_names_stay_different() {
        let texts = ["CN=a,O=b", "O=b,CN=a", "CN=a+O=b", r"CN=a\,O\=b", "CN=A,O=b", "CN=a,O=b,O=b", r"CN=a\+O\=b"];
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert_ne!(parsed(one), parsed(other));
            }
        }
    }
}
