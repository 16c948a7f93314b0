//! What a person at a terminal sees: commands in a pseudo-terminal, their screen read back.

use std::io::{Read as _, Write};
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde_json::json;
use verso_tests::{Gateway, Provider, eventually};

/// The columns of a screen.
const COLUMNS: u16 = 100;

/// A program in a terminal of 30 rows.
struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    input: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    // The terminal lasts as long as its master.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        Self::start_on(gateway, COLUMNS, arguments)
    }

    /// Starts it where the terminal says that it has so many columns.
    fn start_on(gateway: &Gateway, cols: u16, arguments: &[&str]) -> Self {
        let size = PtySize { rows: 30, cols, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let plain = gateway.command();
        let mut command = CommandBuilder::new(plain.get_program());
        command.args(arguments);
        command.env_clear();
        for (name, value) in plain.get_envs().filter_map(|(name, value)| Some((name, value?))).filter(|(name, _)| *name != "NO_COLOR") {
            command.env(name, value);
        }
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).expect("the verso binary starts");
        let input = pair.master.take_writer().expect("a writer");
        let mut output = pair.master.try_clone_reader().expect("a reader");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.rows, COLUMNS, 200)));
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                seen.lock().expect("no panic").process(&buffer[..count]);
            }
        });
        Self { screen, input, child, _master: pair.master }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("no panic").screen().contents()
    }

    async fn shows(&self, text: &str) {
        eventually(&format!("{text:?} on the screen"), async || self.text().contains(text).then_some(())).await;
    }

    fn types(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).and_then(|()| self.input.flush()).expect("the terminal takes input");
    }

    async fn ended(&mut self) -> u32 {
        eventually("the program to end", async || self.child.try_wait().expect("a child").map(|status| status.exit_code())).await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
    }
}

#[tokio::test]
async fn a_table_is_readable_where_the_terminal_does_not_know_its_width() {
    let gateway = Gateway::start_with(json!({})).await;
    let mut terminal = Terminal::start_on(&gateway, 0, &["services", "list"]);
    assert_eq!(terminal.ended().await, 0);
    for word in ["presence", "serving"] {
        terminal.shows(word).await;
    }
}

#[tokio::test]
async fn a_chat_in_the_terminal_streams_lists_and_leaves_the_screen_as_it_was() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let mut terminal = Terminal::start(&gateway, &["tui"]);
    terminal.shows("verso · agent:main:main").await;
    terminal.shows("connected to").await;
    terminal.types("say hello\r");
    terminal.shows("› say hello").await;
    eventually("the whole reply", async || terminal.text().contains("/help").then_some(())).await;
    let client = gateway.client().await;
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:main"})).await.expect("a history");
    let reply = history["messages"][1]["content"][0]["text"].as_str().expect("a reply").to_owned();
    terminal.shows(reply.split(' ').next().expect("a word")).await;

    terminal.types("/help\r");
    terminal.shows("begin the session anew").await;
    terminal.types("/sessions\r");
    terminal.shows("type to search").await;
    terminal.types("\u{1b}");
    eventually("the list to close", async || (!terminal.text().contains("type to search")).then_some(())).await;
    terminal.types("\u{4}");
    assert_eq!(terminal.ended().await, 0);
    assert!(!terminal.text().contains("verso · agent:main:main"), "the chat had a screen of its own");
}

#[tokio::test]
async fn a_chat_survives_the_replacement_of_the_edge() {
    let gateway = Gateway::start().await;
    let mut terminal = Terminal::start(&gateway, &["tui", "--session", "agent:main:other"]);
    terminal.shows("connected to").await;
    gateway.kill("edge").await;
    terminal.shows("next attempt in").await;
    terminal.shows("connected to").await;
    terminal.types("\u{3}");
    terminal.shows("press Ctrl+C again to leave").await;
    terminal.types("\u{3}");
    assert_eq!(terminal.ended().await, 0);
}

#[tokio::test]
async fn status_is_coloured_for_a_person() {
    let gateway = Gateway::start().await;
    let mut terminal = Terminal::start(&gateway, &["status"]);
    assert_eq!(terminal.ended().await, 0);
    terminal.shows("reachable").await;
    let screen = terminal.screen.lock().expect("no panic");
    assert!(String::from_utf8_lossy(&screen.screen().contents_formatted()).contains("\u{1b}[32mreachable"), "good news is green");
}

#[tokio::test]
async fn the_doctor_at_a_terminal_names_every_check_in_colour() {
    let gateway = Gateway::start().await;
    let mut terminal = Terminal::start(&gateway, &["doctor"]);
    assert_eq!(terminal.ended().await, 0);
    terminal.shows("Doctor complete.").await;
    let text = terminal.text();
    for id in ["limits.descriptors", "gateway.reachable", "services.state: edge serves"] {
        assert!(text.contains(id), "{id}: {text}");
    }
    let screen = terminal.screen.lock().expect("no panic");
    assert!(String::from_utf8_lossy(&screen.screen().contents_formatted()).contains("\u{1b}[32mok"), "good news is green");
}

#[tokio::test]
async fn the_start_of_a_gateway_tells_a_person_where_it_listens_and_when_it_is_ready() {
    let gateway = Gateway::prepare(json!({}));
    let mut terminal = Terminal::start(&gateway, &["gateway", "run"]);
    terminal.shows(&format!("listening on ws://127.0.0.1:{} (PID ", gateway.port())).await;
    terminal.shows("services ready").await;
    terminal.types("\u{3}");
    assert_eq!(terminal.ended().await, 0, "{}", terminal.text());
}

#[tokio::test]
async fn a_question_at_a_terminal_shows_no_secret() {
    let gateway = Gateway::prepare(json!({}));
    let mut terminal = Terminal::start(&gateway, &["configure", "--section", "channels"]);
    terminal.shows("Which network?").await;
    terminal.types("telegram\r");
    terminal.shows("The bot's token (not shown").await;
    terminal.types("123456:made-up-bot-token\r");
    assert_eq!(terminal.ended().await, 0, "{}", terminal.text());
    assert!(!terminal.text().contains("made-up-bot-token"), "{}", terminal.text());
    let file = std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the file");
    assert!(file.contains("123456:made-up-bot-token"), "{file}");
}
