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
const SYSTEM: &[&str] =
    &["system.run", "system.which", "system.notify", "system.execApprovals.get", "system.execApprovals.set", "browser.proxy"];

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

/// What kind of machine a node runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Ios,
    Android,
    Macos,
    Computer,
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
        let platform = Platform::of(node);
        node.commands.retain(|command| self.allows(platform, command));
    }

    /// Checks that a node may be asked for `command`.
    pub(crate) fn check(&self, node: &NodeInfo, command: &str) -> Result<(), Error> {
        let reason = if command.is_empty() {
            "command required"
        } else if !self.allows(Platform::of(node), command) {
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

    fn allows(&self, platform: Platform, command: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry.trim() == command);
        let usual = platform.usual().iter().any(|set| set.contains(&command));
        (usual || listed(&self.allow)) && !listed(&self.deny)
    }
}

impl Platform {
    fn of(node: &NodeInfo) -> Self {
        const BY_PREFIX: [(&str, Platform); 6] = [
            ("ios", Platform::Ios),
            ("android", Platform::Android),
            ("mac", Platform::Macos),
            ("darwin", Platform::Macos),
            ("win", Platform::Computer),
            ("linux", Platform::Computer),
        ];
        const BY_FAMILY: [(&str, Platform); 7] = [
            ("iphone", Platform::Ios),
            ("ipad", Platform::Ios),
            ("ios", Platform::Ios),
            ("android", Platform::Android),
            ("mac", Platform::Macos),
            ("windows", Platform::Computer),
            ("linux", Platform::Computer),
        ];
        let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_lowercase();
        let (platform, family) = (lower(&node.platform), lower(&node.device_family));
        let by_prefix = BY_PREFIX.iter().find(|(prefix, _)| platform.starts_with(prefix));
        let found = by_prefix.or_else(|| BY_FAMILY.iter().find(|(part, _)| family.contains(part)));
        found.map_or(Self::Unknown, |(_, platform)| *platform)
    }

    fn usual(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Ios => &[CANVAS, DEVICE],
            Self::Android => &[CANVAS, DEVICE, MESSAGES],
            Self::Macos => &[CANVAS, DEVICE, SYSTEM],
            Self::Computer => &[SYSTEM],
            Self::Unknown => &[CANVAS, DEVICE, MESSAGES, SYSTEM],
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
            ("Android", "", "sms.send", true),
            ("darwin", "", "system.run", true),
            ("linux", "", "system.run", true),
            ("linux", "", "camera.snap", false),
            ("win32", "", "browser.proxy", true),
            ("iPadOS", "iPad", "system.run", false),
            ("plan9", "", "canvas.eval", true),
            ("plan9", "", "made.up", false),
        ] {
            let mut node = node(platform, family, &[command]);
            assert_eq!(policy.check(&node, command).is_ok(), allowed, "{platform} {command}");
            policy.restrict(&mut node);
            assert_eq!(node.commands.is_empty(), !allowed, "{platform} {command}");
        }
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
