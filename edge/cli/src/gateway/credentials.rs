//! What clients must present: chosen by flags, configuration and environment; made when nobody chose.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use verso_kit::config::Secret;
use verso_kit::files;

use super::bind::Bind;
use crate::args::Run;
use crate::config::{Gateway, Snapshot};
use crate::failure::Failure;
use crate::instance::Instance;

/// As much as the strongest of our keys.
const TOKEN_BYTES: usize = 32;

/// What clients must present.
#[derive(Debug)]
pub(super) struct Credentials {
    /// `token`, `password`, `trusted-proxy` or `none`.
    pub(super) mode: String,
    pub(super) token: Option<Secret<String>>,
    pub(super) password: Option<Secret<String>>,
    pub(super) origin: Origin,
    /// A flag has chosen the mode, so the file does not.
    pub(super) mode_is_fixed: bool,
}

/// Where the secret of the mode comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// `--token` or `--password`.
    Flag,
    /// The configuration.
    Config,
    /// The environment.
    Environment,
    /// A file that we keep.
    Stored(PathBuf),
    /// There is none.
    Open,
}

impl Origin {
    /// Says where the secret is that the file calls `key` and the environment `variable`.
    pub(super) fn words(&self, instance: &Instance, key: &str, variable: &str) -> String {
        match self {
            Self::Flag => "as given on the command line".to_owned(),
            Self::Config => format!("gateway.auth.{key} in {}", instance.short(&instance.config_path)),
            Self::Environment => format!("in {variable}"),
            Self::Stored(path) => format!("in {}", instance.short(path)),
            Self::Open => "none is needed".to_owned(),
        }
    }
}

/// Chooses what clients must present.
pub(super) fn resolve(instance: &Instance, snapshot: &Snapshot, flags: &Run, bind: Bind) -> anyhow::Result<Credentials> {
    let section = Gateway::of(&snapshot.file);
    let token =
        chosen(flags.token.as_deref(), flags.token_file.as_deref(), section.auth.token.as_ref(), snapshot.env.get("VERSO_GATEWAY_TOKEN"))?;
    let password = chosen(
        flags.password.as_deref(),
        flags.password_file.as_deref(),
        section.auth.password.as_ref(),
        snapshot.env.get("VERSO_GATEWAY_PASSWORD"),
    )?;
    let mode = flags.auth.clone().or(section.auth.mode).unwrap_or_else(|| usual_mode(password.is_some()));
    let (mut token, password) = (token, password);
    let origin = match mode.as_str() {
        "none" if bind.is_local() => Origin::Open,
        "none" => return Err(open_to_others(bind, snapshot).into()),
        "trusted-proxy" => {
            // The proxy says who it is; a token would be a second way in. The configuration's check says what else must be set.
            token = None;
            Origin::Open
        }
        "password" => match &password {
            Some((_, origin)) => origin.clone(),
            None => return Err(no_password(snapshot).into()),
        },
        _ => {
            let (secret, origin) = match token.take() {
                Some(chosen) => chosen,
                None => made(instance)?,
            };
            token = Some((secret, origin.clone()));
            origin
        }
    };
    let mode_is_fixed = flags.auth.is_some();
    Ok(Credentials { mode, token: token.map(|(secret, _)| secret), password: password.map(|(secret, _)| secret), origin, mode_is_fixed })
}

/// How clients prove themselves where nobody says how.
fn usual_mode(with_password: bool) -> String {
    if with_password { "password" } else { "token" }.to_owned()
}

/// What the next start would have clients present, as far as it is known without one.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) mode: String,
    /// Of the mode `token`.
    pub(crate) token: Option<Secret<String>>,
    /// Where it is from, in words.
    pub(crate) origin: Option<String>,
}

/// Finds out what clients must present.
pub(crate) fn presented(instance: &Instance, snapshot: &Snapshot) -> anyhow::Result<Presented> {
    let auth = Gateway::of(&snapshot.file).auth;
    let with_password = auth.password.is_some() || snapshot.env.get("VERSO_GATEWAY_PASSWORD").is_some();
    let mode = auth.mode.unwrap_or_else(|| usual_mode(with_password));
    let found = match mode.as_str() {
        "token" => chosen(None, None, auth.token.as_ref(), snapshot.env.get("VERSO_GATEWAY_TOKEN"))?
            .or_else(|| Some((stored_token(instance)?, Origin::Stored(instance.token_path())))),
        _ => None,
    };
    let origin = found.as_ref().map(|(_, origin)| origin.words(instance, "token", "$VERSO_GATEWAY_TOKEN"));
    Ok(Presented { mode, token: found.map(|(token, _)| token), origin })
}

/// Returns the token that was made for the gateway, if one was.
pub(crate) fn stored_token(instance: &Instance) -> Option<Secret<String>> {
    let text = fs::read_to_string(instance.token_path()).ok()?;
    Some(text.trim()).filter(|token| !token.is_empty()).map(|token| Secret::new(token.to_owned()))
}

fn chosen(
    flag: Option<&str>,
    file: Option<&Path>,
    config: Option<&Secret<String>>,
    environment: Option<&str>,
) -> anyhow::Result<Option<(Secret<String>, Origin)>> {
    let filled = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()));
    if let Some(path) = file {
        let text = fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        let secret = filled(&text).ok_or_else(|| Failure::new(format!("{} is empty", path.display())))?;
        return Ok(Some((secret, Origin::Flag)));
    }
    let of_flag = flag.and_then(filled).map(|secret| (secret, Origin::Flag));
    let of_config = || config.and_then(|secret| filled(secret.expose())).map(|secret| (secret, Origin::Config));
    let of_environment = || environment.and_then(filled).map(|secret| (secret, Origin::Environment));
    Ok(of_flag.or_else(of_config).or_else(of_environment))
}

/// Returns the stored token; the first start makes it.
fn made(instance: &Instance) -> anyhow::Result<(Secret<String>, Origin)> {
    let path = instance.token_path();
    let stored = || stored_token(instance).map(|token| (token, Origin::Stored(path.clone())));
    if let Some(found) = stored() {
        return Ok(found);
    }
    store(&path).with_context(|| format!("could not store a token at {}", path.display()))?;
    stored().with_context(|| format!("could not read the token at {}", path.display()))
}

/// Writes a new token, unless another start was faster: both must use the same one.
fn store(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    files::create_private_dir(folder)?;
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
    let aside = folder.join(format!("gateway-token.{}", rustix::process::getpid().as_raw_pid()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    let linked = match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.metadata()?.len() > 0 => Ok(()),
        // An empty file holds no token that anybody could be using.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::rename(&aside, path),
        result => result,
    };
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => linked,
    }
}

fn no_password(snapshot: &Snapshot) -> Failure {
    let text = "Gateway auth is set to password, but no password is configured.\n\
                Set gateway.auth.password (or VERSO_GATEWAY_PASSWORD), or pass --password.";
    Failure::refusal(text, &snapshot.env)
}

fn open_to_others(bind: Bind, snapshot: &Snapshot) -> Failure {
    let text = format!(
        "Refusing to bind gateway to {} without auth.\n\
         Set gateway.auth.token/password (or VERSO_GATEWAY_TOKEN/VERSO_GATEWAY_PASSWORD) or pass --token/--password.",
        bind.as_str()
    );
    Failure::refusal(text, &snapshot.env)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn makes_one_token_and_keeps_it_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials/gateway-token");
        store(&path).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        store(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first, "a second start uses the first one's token");
        assert_eq!(URL_SAFE_NO_PAD.decode(first.trim()).unwrap().len(), TOKEN_BYTES);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_flag_wins_over_the_file_over_the_environment() {
        let config = Secret::new("c".to_owned());
        let origin = |flag, config, env| chosen(flag, None, config, env).unwrap().map(|(secret, origin)| (secret.expose().clone(), origin));
        assert_eq!(origin(Some("f"), Some(&config), Some("e")), Some(("f".to_owned(), Origin::Flag)));
        assert_eq!(origin(Some(" "), Some(&config), Some("e")), Some(("c".to_owned(), Origin::Config)));
        assert_eq!(origin(None, None, Some("e")), Some(("e".to_owned(), Origin::Environment)));
        assert_eq!(origin(None, None, None), None);
    }
}
