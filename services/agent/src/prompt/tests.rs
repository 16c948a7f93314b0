use std::path::PathBuf;

use super::*;
use crate::keys::AgentId;
use crate::messages::Image;
use crate::models;

fn profile() -> Profile {
    Profile {
        id: AgentId::normalize("main"),
        name: None,
        identity: None,
        workspace: PathBuf::from("/ws"),
        model: None,
        fallbacks: None,
        mention_patterns: None,
        skills: None,
    }
}

fn prompt(conversation: &[Arc<ChatMessage>], model: &Model, extra: Option<&str>) -> Prompt {
    // Sunday, 2026-11-22 10:22 UTC.
    let around = surroundings(Mode::Full);
    build(&Ingredients {
        profile: &profile(),
        model,
        zone: &TimeZone::UTC,
        now_ms: 1_795_342_933_000,
        around: &around,
        extra,
        conversation,
    })
}

fn surroundings(mode: Mode) -> Surroundings<'static> {
    Surroundings {
        mode,
        tools: vec![("read", "Reads.")],
        skills: Some("<skills/>".to_owned()),
        files: &[],
        aliases: vec![("fast", "p/small")],
        sandboxed: false,
        host: "a-host",
        default_model: "p/large".to_owned(),
        channel: Some("telegram"),
        thinking: None,
    }
}

fn words(message: &ChatMessage) -> String {
    messages::text_of(message)
}

fn asked(text: &str) -> Arc<ChatMessage> {
    Arc::new(messages::user(text, &[], 1_795_342_933_000))
}

fn answered(text: &str) -> Arc<ChatMessage> {
    Arc::new(messages::shown(text, 0))
}

#[test]
fn tells_who_where_and_when() {
    let Prompt { system, messages } = prompt(&[asked("hi")], &models::offline(), Some("  EXTRA  "));
    for part in [
        "You are Assistant",
        "Workspace: /ws",
        "Time zone: UTC",
        "- fast: p/small",
        "host=a-host | os=",
        "default_model=p/large",
        "\nEXTRA\n",
    ] {
        assert!(system.contains(part), "{part}");
    }
    assert_eq!((messages[0].role.as_str(), words(&messages[0]).as_str()), ("user", "[Sun 2026-11-22 10:22 UTC] hi"));
}

#[test]
fn a_subagent_is_told_no_more_than_it_needs() {
    let told = |mode| {
        let around = surroundings(mode);
        let model = models::offline();
        let (profile, conversation) = (profile(), [asked("hi")]);
        let zone = TimeZone::UTC;
        build(&Ingredients {
            profile: &profile,
            model: &model,
            zone: &zone,
            now_ms: 0,
            around: &around,
            extra: None,
            conversation: &conversation,
        })
        .system
    };
    let (full, minimal) = (told(Mode::Full), told(Mode::Minimal));
    for part in ["<skills/>", "NO_REPLY", "HEARTBEAT_OK"] {
        assert!(full.contains(part) && !minimal.contains(part), "{part}");
    }
    assert!(minimal.contains("- read: Reads.") && minimal.contains("channel=telegram"));
}

#[test]
fn drops_the_oldest_turns_that_do_not_fit() {
    let model = Model { context_window: 1_000, max_tokens: Some(4_096), ..models::offline() };
    let long = "word ".repeat(100);
    let conversation: Vec<Arc<ChatMessage>> = (0..20).flat_map(|_| [asked(&long), answered(&long)]).chain([asked("last")]).collect();
    let Prompt { system, messages } = prompt(&conversation, &model, None);
    assert_eq!(messages[0].role, "user", "an answer without its question is left out");
    assert!(words(messages.last().unwrap()).ends_with("last"));
    let cost = tokens(&system) + messages.iter().map(|message| tokens(&words(message))).sum::<u64>();
    assert!(messages.len() > 2 && cost <= 750, "{} messages, {cost} tokens", messages.len());
}

#[test]
fn shows_no_tool_results_whose_call_was_cut_away() {
    let result = Arc::new(ChatMessage { role: "toolResult".to_owned(), ..messages::shown("noon", 0) });
    let messages = prompt(&[result, answered("it is noon"), asked("b")], &models::offline(), None).messages;
    assert_eq!(messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>(), ["assistant", "user"]);
}

#[test]
fn always_shows_the_message_to_answer() {
    let model = Model { context_window: 100, ..models::offline() };
    let messages = prompt(&[asked("old"), asked(&"word ".repeat(1_000))], &model, None).messages;
    assert_eq!(messages.len(), 1);
}

#[test]
fn hides_the_replies_of_commands() {
    let injected = |text: &str, by: &str| Arc::new(messages::injected(text, by, 0));
    let conversation = [asked("a"), injected("status", COMMAND), injected("[lbl]\n\nfrom outside", "inject"), asked("b")];
    let messages = prompt(&conversation, &models::offline(), None).messages;
    assert_eq!(messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>(), ["user", "assistant", "user"]);
}

#[test]
fn shows_pictures_only_to_models_that_see() {
    let picture = [Image { mime_type: "image/png".to_owned(), data: "aGk=".to_owned() }];
    let conversation = [Arc::new(messages::user("look", &picture, 0))];
    let blind = prompt(&conversation, &models::offline(), None).messages;
    assert!(words(&blind[0]).contains("1 picture(s) attached"));
    let seeing = prompt(&conversation, &Model { images: true, ..models::offline() }, None).messages;
    let pictures: Vec<&str> = seeing[0].content.iter().filter_map(|block| block.data.as_deref()).collect();
    assert_eq!(pictures, ["aGk="]);
}

#[test]
fn estimates_tokens() {
    for (text, count) in [("", 0), ("abcd", 1), ("abcde", 2), ("日本語", 3)] {
        assert_eq!(tokens(text), count, "{text}");
    }
}
