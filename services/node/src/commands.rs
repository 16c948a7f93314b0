//! Which commands a node of a platform may offer and be asked for.

use serde::Deserialize;
use verso_proto::node::v1::NodeInfo;

use crate::error::Error;

/// Why a command is refused that nodes of the platform may not offer.
pub(crate) const NOT_LISTED: &str = "command not allowlisted";

const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const DEVICE: &[&str] = &["camera.list", "camera.snap", "camera.clip", "screen.record", "location.get"];
const MESSAGES: &[&str] = &["sms.send"];
const SYSTEM: &[&str] = &[
    "system.run",
    "system.run.prepare",
    "system.which",
    "system.notify",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "browser.proxy",
];
/// What newer clients offer: facts about a device, and what its owner has let the app see.
const FACTS: &[&str] = &["device.info", "device.status"];
const NOTICES: &[&str] = &["system.notify"];
const PERSONAL: &[&str] = &["contacts.search", "calendar.events", "reminders.list", "photos.latest", "motion.activity", "motion.pedometer"];
const ANDROID: &[&str] = &[
    "notifications.list",
    "notifications.actions",
    "device.permissions",
    "device.health",
    "device.apps",
    "callLog.search",
    "mobile.ui.observe",
    "mobile.ui.act",
];
const MACOS: &[&str] = &["camera.ptz.status", "device.apps"];
const DESKTOP: &[&str] = &["computer.act"];
/// What talking devices of any kind offer, and the capability that says that a device is one.
const TALK: &str = "talk";
const TALKING: &str = "talk.ptt.";

/// How an operator changes what platforms allow: the configuration's `gateway.nodes`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// Commands that every node may offer besides those of its platform. None by default.
    allow_commands: Vec<String>,
    /// Commands that no node may offer, whoever allows them. None by default.
    deny_commands: Vec<String>,
    /// The same two lists, as newer configurations spell them.
    commands: Lists,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Lists {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// What nodes may offer.
#[derive(Debug)]
pub(crate) struct CommandPolicy {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// What decides which commands are usual for a node.
#[derive(Debug, Clone, Copy)]
struct Kind {
    platform: Platform,
    talks: bool,
}

/// What kind of machine a node runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Ios,
    Watch,
    Android,
    Macos,
    Windows,
    Linux,
    /// Nothing is known of it, so that it is trusted with nothing that nobody has allowed.
    Unknown,
}

impl Config {
    pub(crate) fn build(self) -> CommandPolicy {
        CommandPolicy {
            allow: [self.allow_commands, self.commands.allow].concat(),
            deny: [self.deny_commands, self.commands.deny].concat(),
        }
    }
}

impl CommandPolicy {
    /// Takes away what a node declares and may not offer.
    pub(crate) fn restrict(&self, node: &mut NodeInfo) {
        let kind = Kind::of(node);
        node.commands.retain(|command| self.allows(kind, command));
    }

    /// Checks that a node may be asked for `command`.
    pub(crate) fn check(&self, node: &NodeInfo, command: &str) -> Result<(), Error> {
        let reason = if command.is_empty() {
            "command required"
        } else if !self.allows(Kind::of(node), command) {
            NOT_LISTED
        } else if node.commands.is_empty() {
            "node did not declare commands"
        } else if !node.commands.iter().any(|declared| declared == command) {
            "command not declared by node"
        } else {
            return Ok(());
        };
        let platform = node.platform.clone().filter(|platform| !platform.trim().is_empty()).unwrap_or_else(|| "unknown".to_owned());
        Err(Error::CommandRefused { reason, command: command.to_owned(), platform })
    }

    fn allows(&self, kind: Kind, command: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry.trim() == command);
        let usual = kind.platform.usual().iter().any(|set| set.contains(&command)) || (kind.talks && command.starts_with(TALKING));
        (usual || listed(&self.allow)) && !listed(&self.deny)
    }
}

impl Kind {
    fn of(node: &NodeInfo) -> Self {
        Self { platform: Platform::of(node), talks: node.caps.iter().any(|cap| cap == TALK) }
    }
}

impl Platform {
    fn of(node: &NodeInfo) -> Self {
        const BY_PREFIX: [(&str, Platform); 8] = [
            ("ios", Platform::Ios),
            ("ipados", Platform::Ios),
            ("watchos", Platform::Watch),
            ("android", Platform::Android),
            ("mac", Platform::Macos),
            ("darwin", Platform::Macos),
            ("win", Platform::Windows),
            ("linux", Platform::Linux),
        ];
        const BY_FAMILY: [(&str, Platform); 8] = [
            ("watch", Platform::Watch),
            ("iphone", Platform::Ios),
            ("ipad", Platform::Ios),
            ("ios", Platform::Ios),
            ("android", Platform::Android),
            ("mac", Platform::Macos),
            ("windows", Platform::Windows),
            ("linux", Platform::Linux),
        ];
        let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_lowercase();
        let (platform, family) = (lower(&node.platform), lower(&node.device_family));
        let by_prefix = BY_PREFIX.iter().find(|(prefix, _)| platform.starts_with(prefix));
        let found = by_prefix.or_else(|| BY_FAMILY.iter().find(|(part, _)| family.contains(part)));
        found.map_or(Self::Unknown, |(_, platform)| *platform)
    }

    fn usual(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Ios => &[CANVAS, DEVICE, FACTS, NOTICES, PERSONAL],
            Self::Watch => &[FACTS, NOTICES],
            Self::Android => &[CANVAS, DEVICE, MESSAGES, FACTS, NOTICES, PERSONAL, ANDROID],
            Self::Macos => &[CANVAS, DEVICE, FACTS, PERSONAL, SYSTEM, MACOS, DESKTOP],
            Self::Windows => &[SYSTEM, DESKTOP, &["camera.list", "location.get"], FACTS],
            Self::Linux => &[SYSTEM, DESKTOP],
            Self::Unknown => &[],
        }
    }
}

/// Whether a node is a phone or tablet.
pub(crate) fn is_mobile(node: &NodeInfo) -> bool {
    matches!(Platform::of(node), Platform::Ios | Platform::Android)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(platform: &str, family: &str, commands: &[&str]) -> NodeInfo {
        NodeInfo {
            platform: Some(platform.to_owned()),
            device_family: Some(family.to_owned()),
            commands: commands.iter().map(|&command| command.to_owned()).collect(),
            ..NodeInfo::default()
        }
    }

    #[test]
    fn a_platform_decides_what_its_nodes_may_offer() {
        let policy = Config::default().build();
        for (platform, family, command, allowed) in [
            ("iOS 17", "", "camera.snap", true),
            ("ios", "", "sms.send", false),
            ("ios", "", "photos.latest", true),
            ("ios", "", "callLog.search", false),
            ("ios", "", "system.run", false),
            ("Android", "", "sms.send", true),
            ("android", "", "mobile.ui.observe", true),
            ("android", "", "system.run", false),
            ("darwin", "", "system.run", true),
            ("macOS 15", "", "canvas.present", true),
            ("linux", "", "system.run", true),
            ("linux", "", "camera.snap", false),
            ("linux", "", "canvas.present", false),
            ("win32", "", "browser.proxy", true),
            ("win32", "", "camera.snap", false),
            ("iPadOS", "", "camera.snap", true),
            ("iPadOS", "iPad", "system.run", false),
            ("watchOS", "Apple Watch", "device.info", true),
            ("watchOS", "", "camera.snap", false),
            ("", "iPhone", "camera.snap", true),
            ("plan9", "", "canvas.eval", false),
            ("plan9", "", "system.run", false),
            ("", "", "system.notify", false),
            ("plan9", "", "made.up", false),
        ] {
            let mut node = node(platform, family, &[command]);
            assert_eq!(policy.check(&node, command).is_ok(), allowed, "{platform} {command}");
            policy.restrict(&mut node);
            assert_eq!(node.commands.is_empty(), !allowed, "{platform} {command}");
        }
    }

    #[test]
    fn a_platform_that_nobody_knows_is_trusted_with_what_is_allowed_by_name_and_with_talking_if_it_talks() {
        let everything: Vec<&str> = [CANVAS, DEVICE, MESSAGES, SYSTEM, FACTS, NOTICES, PERSONAL, ANDROID, MACOS, DESKTOP].concat();
        let mut strange = node("plan9", "toaster", &everything);
        Config::default().build().restrict(&mut strange);
        assert_eq!(strange.commands, Vec::<String>::new());
        let config: Config = serde_json::from_value(serde_json::json!({"allowCommands": ["canvas.present"]})).unwrap();
        let mut strange = node("plan9", "toaster", &everything);
        config.build().restrict(&mut strange);
        assert_eq!(strange.commands, ["canvas.present"]);
        let mut talking = node("plan9", "", &["talk.ptt.start", "system.run"]);
        talking.caps = vec![TALK.to_owned()];
        Config::default().build().restrict(&mut talking);
        assert_eq!(talking.commands, ["talk.ptt.start"]);
        let mut silent = node("linux", "", &["talk.ptt.start"]);
        Config::default().build().restrict(&mut silent);
        assert_eq!(silent.commands, Vec::<String>::new());
    }

    #[test]
    fn the_configuration_adds_and_takes_away() {
        let config: Config = serde_json::from_value(serde_json::json!({
            "allowCommands": ["made.up", "system.which"], "denyCommands": ["system.run"], "commands": {"deny": ["system.which"]},
        }))
        .unwrap();
        let policy = config.build();
        let mut node = node("linux", "", &["made.up", "system.notify", "system.run", "system.which"]);
        policy.restrict(&mut node);
        assert_eq!(node.commands, ["made.up", "system.notify"]);
        let reason = |node: &NodeInfo, command| match policy.check(node, command) {
            Err(Error::CommandRefused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&node, "system.run"), "command not allowlisted");
        assert_eq!(reason(&node, "browser.proxy"), "command not declared by node");
        node.commands.clear();
        assert_eq!(reason(&node, "browser.proxy"), "node did not declare commands");
        assert_eq!(reason(&node, ""), "command required");
    }
}
