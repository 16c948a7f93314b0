use super::*;
use crate::message::{ChatKind, Incoming};

fn read(line: &str) -> Option<Incoming> {
    let message: Message = line.parse().unwrap();
    let Command::PRIVMSG(target, text) = &message.command else { panic!("{line}") };
    let mentions = Mentions::new(["hey bot".to_owned()].iter());
    reading::incoming(&message, (target, text), "verso", &mentions, 5)
}

#[test]
fn people_are_known_by_account_or_whole_mask() {
    let direct = read(":Ann!ann@host.example PRIVMSG verso :hello").unwrap();
    assert_eq!((direct.chat, direct.peer.as_str(), direct.sender.as_str()), (ChatKind::Direct, "Ann", "ann!ann@host.example"));
    let group = read("@account=Ann;msgid=m1 :Ann!x@y PRIVMSG #Den :verso: hi").unwrap();
    assert_eq!((group.chat, group.peer.as_str(), group.sender.as_str()), (ChatKind::Group, "#den", "account:ann"));
    assert_eq!((group.event.as_str(), group.mentioned), ("m1", true));
    assert!(!read(":Ann!x@y PRIVMSG #den :versos are nice").unwrap().mentioned);
    assert!(read(":Ann!x@y PRIVMSG #den :Hey bot, are you there?").unwrap().mentioned);
    assert_eq!(read(":Ann!x@y PRIVMSG #den :\u{1}ACTION waves\u{1}").unwrap().text, "* Ann waves");
}

#[test]
fn own_lines_and_requests_of_clients_are_not_read() {
    assert_eq!(read(":verso!x@y PRIVMSG #den :hi"), None);
    assert_eq!(read(":Ann!x@y PRIVMSG verso :\u{1}VERSION\u{1}"), None);
    assert_eq!(read(":server.example PRIVMSG verso :notice"), None);
}

#[test]
fn long_texts_become_lines_that_fit() {
    let text = format!("{}\n\n{}", "word ".repeat(200), "ü".repeat(500));
    let lines = lines(&text);
    assert!(lines.iter().all(|line| line.len() <= LINE_TEXT_BYTES_MAX && !line.is_empty()));
    assert_eq!(lines.concat().replace(' ', ""), text.replace([' ', '\n'], ""));
}
