//! What the channel service says of the account: its section of the configuration, and `web`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// How a lost connection is made again.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Reconnect {
    /// The first pause, in milliseconds.
    initial_ms: u64,
    /// The longest pause, in milliseconds.
    max_ms: u64,
    /// How much longer each pause is than the one before.
    factor: f64,
    /// By which part of itself a pause varies.
    jitter: f64,
    /// How often it is tried before the account is started anew; 0 for ever.
    pub(crate) max_attempts: u32,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { initial_ms: 2_000, max_ms: 30_000, factor: 1.8, jitter: 0.25, max_attempts: 12 }
    }
}

/// No pause is shorter.
const PAUSE_MIN_MS: u64 = 250;

impl Reconnect {
    /// Returns the pause after `failures` failures; `chance` is from 0 to 1.
    pub(crate) fn pause(&self, failures: u32, chance: f64) -> Duration {
        let most = self.max_ms.max(PAUSE_MIN_MS);
        let first = Duration::from_millis(self.initial_ms.clamp(PAUSE_MIN_MS, most));
        let grown = first.mul_f64(self.factor.clamp(1.1, 10.0).powi(i32::try_from(failures.min(64)).unwrap_or(64)));
        let varied = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * chance - 1.0);
        grown.min(Duration::from_millis(most)).mul_f64(varied).max(Duration::from_millis(PAUSE_MIN_MS))
    }
}

/// `web`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Web {
    heartbeat_seconds: Option<u64>,
    reconnect: Reconnect,
}

/// A connection that held for so long begins with the shortest pause again, unless configured.
const HELD_DEFAULT: Duration = Duration::from_mins(1);

/// The account's settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Settings {
    /// Where the linked device's keys are.
    pub(crate) auth_dir: PathBuf,
    /// The account belongs to its owner himself, who writes to himself.
    self_chat_mode: Option<bool>,
    allow_from: Vec<Value>,
    send_read_receipts: Option<bool>,
    /// The network's socket, if it is reached another way than usual: `wss://…`, or `ws://…` on this machine.
    pub(crate) socket_url: Option<String>,
    web: Web,
}

impl Settings {
    /// Reads what the channel service has sent.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(json).map_err(|error| format!("the settings cannot be read: {error}"))?;
        if settings.auth_dir.as_os_str().is_empty() {
            return Err("the settings do not say where the keys are: authDir is missing".to_owned());
        }
        if settings.socket_url.as_deref().is_some_and(|url| !is_safe(url)) {
            return Err("socketUrl must begin with wss://, or with ws:// and an address of this machine".to_owned());
        }
        Ok(settings)
    }

    /// Whether the account is its owner's own, who writes to himself: `me` is its number.
    pub(crate) fn self_chat(&self, me: Option<&str>) -> bool {
        let listed = || me.is_some_and(|me| self.allow_from.iter().any(|entry| digits(entry) == digits_of(me)));
        self.self_chat_mode.unwrap_or_else(listed)
    }

    /// Whether whoever wrote a message sees that it was read.
    pub(crate) fn shows_reading(&self, me: Option<&str>) -> bool {
        self.send_read_receipts.unwrap_or(true) && !self.self_chat(me)
    }

    pub(crate) fn reconnect(&self) -> Reconnect {
        self.web.reconnect
    }

    /// Returns how long a connection must hold to count as a good one.
    pub(crate) fn held(&self) -> Duration {
        self.web.heartbeat_seconds.map_or(HELD_DEFAULT, Duration::from_secs)
    }
}

fn digits(entry: &Value) -> String {
    match entry {
        Value::String(text) => digits_of(text),
        other => digits_of(&other.to_string()),
    }
}

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Keys travel over it, encrypted once more; a plain socket is for tests and relays of this machine.
fn is_safe(url: &str) -> bool {
    let local = ["127.0.0.1", "[::1]", "localhost"];
    let plain = url.strip_prefix("ws://").map(|rest| rest.split('/').next().unwrap_or_default());
    let host = plain.map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host));
    url.starts_with("wss://") || host.is_some_and(|host| local.contains(&host))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Settings, String> {
        let mut settings = json!({"authDir": "/keys"});
        settings.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        Settings::read(&settings.to_string())
    }

    #[test]
    fn whoever_lists_himself_writes_to_himself_and_sees_no_ticks() {
        let listed = read(&json!({"allowFrom": ["+49 170 1", 1555]})).unwrap();
        assert!(listed.self_chat(Some("+491701")) && listed.self_chat(Some("1555")) && !listed.self_chat(Some("+49")));
        assert!(!listed.self_chat(None) && !listed.shows_reading(Some("+491701")) && listed.shows_reading(Some("+49")));
        let said = read(&json!({"selfChatMode": false, "allowFrom": ["+491701"]})).unwrap();
        assert!(!said.self_chat(Some("+491701")));
        assert!(!read(&json!({"sendReadReceipts": false})).unwrap().shows_reading(None));
    }

    #[test]
    fn pauses_grow_to_their_limit_and_vary() {
        let reconnect = read(&json!({"web": {"reconnect": {"jitter": 0}}})).unwrap().reconnect();
        let pauses: Vec<u128> = (0..6).map(|failures| reconnect.pause(failures, 0.5).as_millis()).collect();
        assert_eq!(pauses, [2_000, 3_600, 6_480, 11_664, 20_995, 30_000]);
        let varied = Reconnect::default();
        assert_eq!((varied.pause(0, 0.0).as_millis(), varied.pause(0, 1.0).as_millis()), (1_500, 2_500));
        let eager = read(&json!({"web": {"reconnect": {"initialMs": 0, "maxMs": 0, "factor": 0, "jitter": 9}}})).unwrap().reconnect();
        assert_eq!(eager.pause(900, 0.0).as_millis(), 250, "nobody is asked without a pause");
    }

    #[test]
    fn a_plain_socket_leads_nowhere_else() {
        for url in ["wss://web.example/ws", "ws://127.0.0.1:9000/ws", "ws://[::1]:1/", "ws://localhost"] {
            assert!(read(&json!({"socketUrl": url})).is_ok(), "{url}");
        }
        for url in ["ws://web.example/ws", "ws://127.0.0.1.example/", "http://127.0.0.1", ""] {
            assert!(read(&json!({"socketUrl": url})).unwrap_err().contains("socketUrl"), "{url}");
        }
        assert!(Settings::read("{}").unwrap_err().contains("authDir"));
    }
}
