//! `verso certificates`: an authority of the house, and a certificate for each service that speaks TCP.
//!
//! Every call makes fresh certificates; services take them with their next connection. The authority changes in three steps, none of which
//! breaks a connection: `--new-authority` (both are trusted), once more everywhere (everybody shows the new one), `--forget-old`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use serde_json::json;
use verso_kit::files;
use verso_kit::links::{SERVICES, name_in_certificate};

use crate::args::Certificates;
use crate::output;

/// How long an authority is valid, in years.
const AUTHORITY_YEARS: i64 = 10;

/// What the authority is called; it is told from others of the name by its key.
const AUTHORITY: &str = "Verso services";

/// Separates certificates in a file of several.
const END: &str = "-----END CERTIFICATE-----";

pub(super) fn run(arguments: &Certificates) -> anyhow::Result<()> {
    let services = if arguments.services.is_empty() { SERVICES.map(str::to_owned).to_vec() } else { arguments.services.clone() };
    if let Some(unknown) = services.iter().find(|name| !SERVICES.contains(&name.as_str())) {
        bail!("{unknown} is no service (known: {})", SERVICES.join(", "));
    }
    let authority = Authority::open(&arguments.out.join("ca"), arguments)?;
    let mut made = Vec::new();
    for service in services {
        let folder = arguments.out.join(&service);
        authority.issue(&service, &folder, arguments.days)?;
        made.push(folder);
    }
    if arguments.json {
        return Ok(output::document(&json!({"authority": arguments.out.join("ca"), "certificates": made, "days": arguments.days}))?);
    }
    output::line(format!("Authority: {}", arguments.out.join("ca").display()))?;
    for folder in made {
        output::line(format!("Certificate for {} days: {}", arguments.days, folder.display()))?;
    }
    Ok(())
}

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Every authority that is trusted, the present one first.
    trusted: String,
}

impl Authority {
    fn open(folder: &Path, arguments: &Certificates) -> anyhow::Result<Self> {
        files::create_private_dir(folder).with_context(|| format!("could not create {}", folder.display()))?;
        let (key_path, trusted_path) = (folder.join("ca.key"), folder.join("ca.pem"));
        let known = key_path.exists();
        ensure!(known || !trusted_path.exists(), "{} is missing: without it nobody can be certified", key_path.display());
        let before = if known { fs::read_to_string(&trusted_path)? } else { String::new() };
        let (key, trusted) = if known && !arguments.new_authority {
            let key = KeyPair::from_pem(&fs::read_to_string(&key_path)?)?;
            (key, if arguments.forget_old { first(&before) } else { before })
        } else {
            let key = KeyPair::generate()?;
            let certificate = params(AUTHORITY_YEARS * 365)?.self_signed(&key)?.pem();
            (key, certificate + &before)
        };
        write(&key_path, &key.serialize_pem())?;
        write(&trusted_path, &trusted)?;
        Ok(Self { issuer: Issuer::new(params(AUTHORITY_YEARS * 365)?, key), trusted })
    }

    fn issue(&self, service: &str, folder: &Path, days: u16) -> anyhow::Result<()> {
        files::create_private_dir(folder).with_context(|| format!("could not create {}", folder.display()))?;
        let mut own = CertificateParams::new(vec![name_in_certificate(service)])?;
        valid_for(&mut own, days.into())?;
        own.distinguished_name.push(DnType::CommonName, service);
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        own.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = own.signed_by(&key, &self.issuer)?.pem();
        // Whom to trust comes first: what is shown next is trusted by then.
        write(&folder.join("ca.pem"), &self.trusted)?;
        write(&folder.join("key.pem"), &key.serialize_pem())?;
        write(&folder.join("cert.pem"), &certificate)
    }
}

fn params(days: i64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    valid_for(&mut params, days)?;
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// From yesterday on: clocks differ.
fn valid_for(params: &mut CertificateParams, days: i64) -> anyhow::Result<()> {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let day = |at: Zoned| {
        let (month, day) = (u8::try_from(at.month()), u8::try_from(at.day()));
        anyhow::Ok(date_time_ymd(at.year().into(), month?, day?))
    };
    params.not_before = day(now.checked_sub(1.day())?)?;
    params.not_after = day(now.checked_add(days.days())?)?;
    Ok(())
}

/// The first certificate of several.
fn first(all: &str) -> String {
    all.split_once(END).map_or_else(|| all.to_owned(), |(one, _)| format!("{one}{END}\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    files::write_atomic(path, text.as_bytes(), 0o600).with_context(|| format!("could not write {}", path.display()))
}
