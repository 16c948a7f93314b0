//! `--dev` and `--profile`: which of several gateways on one machine is meant.

use std::ffi::OsString;

/// Letters, digits, `_` and `-`, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A profile: none is the default gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile(Option<String>);

/// The flags name no profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Two profiles at once.
    #[error("Cannot combine --dev with --profile")]
    Combined,
    /// `--profile` without a name.
    #[error("--profile requires a value")]
    NoName,
    /// A name that would not make a safe folder name.
    #[error("Invalid --profile (use letters, numbers, \"_\", \"-\" only)")]
    BadName,
}

impl Profile {
    /// Takes the flags out of the arguments, before anything else looks at them. What follows `--` is left alone.
    pub(crate) fn take(arguments: impl IntoIterator<Item = OsString>) -> Result<(Self, Vec<OsString>), Error> {
        let mut arguments = arguments.into_iter();
        let (mut dev, mut name, mut rest) = (false, None, Vec::new());
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--") => {
                    rest.push(argument);
                    break;
                }
                Some("--dev") => dev = true,
                Some("--profile") => name = Some(arguments.next().ok_or(Error::NoName)?.into_string().map_err(|_| Error::BadName)?),
                Some(text) if text.starts_with("--profile=") => name = Some(text["--profile=".len()..].to_owned()),
                _ => rest.push(argument),
            }
        }
        rest.extend(arguments);
        let profile = match (dev, name) {
            (true, Some(_)) => return Err(Error::Combined),
            (true, None) => Self(Some("dev".to_owned())),
            (false, Some(name)) => Self::named(name.trim())?,
            (false, None) => Self::default(),
        };
        Ok((profile, rest))
    }

    /// The profile of that name.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::NoName);
        }
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !plain || name.len() > NAME_BYTES_MAX || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(Error::BadName);
        }
        Ok(Self((!name.eq_ignore_ascii_case("default")).then(|| name.to_owned())))
    }

    /// Returns the name; none for the default gateway.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether this is the profile for trying things out.
    pub(crate) fn is_dev(&self) -> bool {
        self.name() == Some("dev")
    }

    /// Returns the command line that reaches the same gateway, such as `verso --dev gateway`.
    pub(crate) fn command(&self, rest: &str) -> String {
        match self.name() {
            None => format!("verso {rest}"),
            Some("dev") => format!("verso --dev {rest}"),
            Some(name) => format!("verso --profile {name} {rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(arguments: &[&str]) -> Result<(Option<String>, Vec<String>), Error> {
        let (profile, rest) = Profile::take(arguments.iter().map(OsString::from))?;
        Ok((profile.0, rest.into_iter().map(|argument| argument.into_string().unwrap()).collect()))
    }

    #[test]
    fn takes_the_profile_from_anywhere_before_two_dashes() {
        let dev = Ok((Some("dev".to_owned()), vec!["verso".to_owned(), "gateway".to_owned()]));
        assert_eq!(take(&["verso", "--dev", "gateway"]), dev);
        assert_eq!(take(&["verso", "gateway", "--dev"]), dev);
        assert_eq!(take(&["verso", "--profile=Work"]), Ok((Some("Work".to_owned()), vec!["verso".to_owned()])));
        assert_eq!(take(&["a", "--", "--dev"]), Ok((None, vec!["a".to_owned(), "--".to_owned(), "--dev".to_owned()])));
        assert_eq!(take(&["a", "--profile", "DEFAULT"]), Ok((None, vec!["a".to_owned()])));
    }

    #[test]
    fn refuses_what_is_no_profile() {
        assert_eq!(take(&["--dev", "--profile", "x"]), Err(Error::Combined));
        assert_eq!(take(&["--profile"]), Err(Error::NoName));
        assert_eq!(take(&["--profile", " "]), Err(Error::NoName));
        for name in ["../x", "-x", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(take(&["--profile", name]), Err(Error::BadName), "{name}");
        }
    }
}
