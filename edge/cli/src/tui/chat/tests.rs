use serde_json::json;

use super::*;

fn chat() -> Chat {
    Chat { session: "agent:main:main".to_owned(), connected: true, ..Chat::new(Start::default()) }
}

fn press(chat: &mut Chat, code: KeyCode) -> Vec<Action> {
    chat.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn enter(chat: &mut Chat, line: &str) -> Vec<Action> {
    chat.editor.insert(line);
    press(chat, KeyCode::Enter)
}

fn event(run: &str, state: &str, text: &str) -> Value {
    let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
    json!({"runId": run, "sessionKey": "agent:main:main", "state": state, "message": message})
}

#[test]
fn a_reply_grows_in_one_entry_until_it_is_final() {
    let mut chat = chat();
    let actions = enter(&mut chat, "hello");
    let Some(Action::Say { text, run }) = actions.first() else { panic!("{actions:?}") };
    assert_eq!(text, "hello");
    for (state, text) in [("delta", "a"), ("delta", "a b"), ("final", "a b c")] {
        assert!(chat.is_busy());
        chat.on_event("chat", &event(run, state, text));
    }
    let said: Vec<(Who, &str)> = chat.entries.iter().map(|entry| (entry.who, entry.text.as_str())).collect();
    assert_eq!(said, [(Who::User, "hello"), (Who::Agent, "a b c")]);
    assert!(!chat.is_busy());
}

#[test]
fn another_session_is_none_of_ours() {
    let mut chat = chat();
    let mut foreign = event("r", "final", "secret");
    foreign["sessionKey"] = json!("agent:other:main");
    chat.on_event("chat", &foreign);
    assert!(chat.entries.is_empty());
}

#[test]
fn escape_stops_a_run_and_the_failure_of_one_is_shown() {
    let mut chat = chat();
    assert!(press(&mut chat, KeyCode::Esc).is_empty(), "there is nothing to stop");
    chat.on_event("chat", &event("r", "delta", "a"));
    assert_eq!(press(&mut chat, KeyCode::Esc), [Action::Abort]);
    chat.on_event("chat", &json!({"runId": "r", "sessionKey": "agent:main:main", "state": "error", "errorMessage": "no model\u{1b}[2J"}));
    assert_eq!(chat.entries.last().map(|entry| (entry.who, entry.text.as_str())), Some((Who::Error, "no model[2J")));
    assert!(!chat.is_busy());
}

#[test]
fn a_session_is_chosen_from_a_list_and_its_history_shown() {
    let mut chat = chat();
    assert_eq!(enter(&mut chat, "/sessions"), [Action::List(Kind::Session)]);
    let listed = Outcome { question: Question::Listed(Kind::Session), answer: Ok(json!({"sessions": [{"key": "agent:main:x"}]})) };
    chat.on_outcome(listed);
    assert_eq!(press(&mut chat, KeyCode::Enter), [Action::History]);
    assert_eq!(chat.session, "agent:main:x");
    let messages =
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yo"}]}]});
    let stale = Outcome { question: Question::History { session: "agent:main:main".to_owned() }, answer: Ok(messages.clone()) };
    chat.on_outcome(stale);
    assert!(chat.entries.is_empty(), "the history of the session before comes too late");
    chat.on_outcome(Outcome { question: Question::History { session: "agent:main:x".to_owned() }, answer: Ok(messages) });
    assert_eq!(chat.entries.len(), 2);
}

#[test]
fn leaving_takes_two_presses() {
    let mut chat = chat();
    chat.editor.insert("draft");
    let control = |chat: &mut Chat| chat.on_key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(control(&mut chat).is_empty() && chat.is_leaving() && chat.editor.text().is_empty());
    press(&mut chat, KeyCode::Left);
    assert!(control(&mut chat).is_empty(), "another key takes the first press back");
    assert_eq!(control(&mut chat), [Action::Quit]);
}
