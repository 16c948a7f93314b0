//! `verso gateway discover`: which gateways announce themselves on the local network. What they say of themselves is not to be trusted.

use std::collections::BTreeMap;
use std::time::Instant;

use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};
use serde_json::{Map, Value, json};
use verso_kit::clock::Clock;

use super::Session;
use crate::args::Discover;
use crate::output::{self, As, Column, Reader};

/// What gateways announce themselves as.
const KIND: &str = "_openclaw-gw._tcp.local.";

/// How many gateways are shown.
const BEACONS_MAX: usize = 256;

const BEACONS: [Column; 4] = [
    Column("Name", &["/displayName", "/instanceName"], As::Text),
    Column("Host", &["/host"], As::Text),
    Column("Port", &["/port"], As::Text),
    Column("Address", &["/wsUrl"], As::Text),
];

/// What is said in text records, and shown under the same name; numbers as numbers.
const TEXTS: [&str; 6] = ["displayName", "lanHost", "tailnetDns", "cliPath", "role", "transport"];
const NUMBERS: [&str; 3] = ["gatewayPort", "sshPort", "canvasPort"];

/// Looks for a while and prints what was found; nothing found is no failure.
pub(super) fn run(session: &Session, arguments: &Discover) -> anyhow::Result<()> {
    let found = browse(arguments)?;
    let beacons: Vec<Value> = found.values().map(beacon).collect();
    let document = json!({
        "timeoutMs": arguments.timeout.as_millis(), "domains": ["local."], "count": beacons.len(), "beacons": beacons,
    });
    if arguments.json {
        return Ok(output::document(&document)?);
    }
    if beacons.is_empty() {
        return Ok(output::line("No gateway announces itself here.")?);
    }
    let reader = Reader { style: session.style, now_ms: Clock::system().now_ms() };
    Ok(output::line(reader.table(&beacons, &BEACONS))?)
}

fn browse(arguments: &Discover) -> anyhow::Result<BTreeMap<String, ResolvedService>> {
    let daemon = ServiceDaemon::new()?;
    if !arguments.interface.is_empty() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(arguments.interface.iter().map(|name| IfKind::Name(name.clone())).collect::<Vec<_>>())?;
    }
    let heard = daemon.browse(KIND)?;
    let until = Instant::now() + arguments.timeout;
    let mut found = BTreeMap::new();
    while let Ok(event) = heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
        match event {
            ServiceEvent::ServiceResolved(service) if found.len() < BEACONS_MAX => {
                found.insert(service.fullname.clone(), *service);
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                found.remove(&name);
            }
            _ => {}
        }
    }
    // A thread that is gone already needs not be ended.
    drop(daemon.shutdown());
    Ok(found)
}

fn beacon(service: &ResolvedService) -> Value {
    let said = |name: &str| service.txt_properties.get_property_val_str(name).filter(|value| !value.is_empty()).map(readable);
    let mut beacon = Map::new();
    let mut put = |name: &str, value: Option<Value>| drop(value.map(|value| beacon.insert(name.to_owned(), value)));
    let instance = service.fullname.strip_suffix(KIND).unwrap_or(&service.fullname).trim_end_matches('.').replace("\\ ", " ");
    let mut addresses: Vec<String> = service.addresses.iter().map(|address| address.to_ip_addr().to_string()).collect();
    addresses.sort_by_key(|address| (address.contains(':'), address.clone()));
    let host = service.host.trim_end_matches('.').to_owned();
    let secure = said("gatewayTls").as_deref() == Some("1");
    put("instanceName", Some(json!(readable(&instance))));
    put("host", Some(json!(readable(&host))));
    put("port", Some(json!(service.port)));
    put("domain", Some(json!("local.")));
    put("addresses", Some(json!(addresses)));
    for name in TEXTS {
        put(name, said(name).map(|value| json!(value)));
    }
    for name in NUMBERS {
        put(name, said(name).and_then(|value| value.parse::<u16>().ok()).map(|value| json!(value)));
    }
    put("gatewayTls", secure.then(|| json!(true)));
    put("gatewayTlsFingerprintSha256", said("gatewayTlsSha256").map(|value| json!(value)));
    let url = addresses.first().map(|address| {
        let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        format!("{}://{address}:{}", if secure { "wss" } else { "ws" }, service.port)
    });
    put("wsUrl", url.map(|url| json!(url)));
    let txt: Map<String, Value> =
        service.txt_properties.iter().map(|fact| (readable(fact.key()), json!(readable(fact.val_str())))).collect();
    put("txt", Some(Value::Object(txt)));
    Value::Object(beacon)
}

/// A stranger's words, without what a terminal would act upon.
fn readable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
