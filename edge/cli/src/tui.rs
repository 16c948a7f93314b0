//! `verso tui`: a chat with an agent in the terminal, over the same connection that every client uses.

mod chat;
mod draw;
mod editor;
mod picker;
mod remote;
mod slash;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream, KeyEventKind};
use futures_util::StreamExt as _;
use tokio::time::MissedTickBehavior;
use verso_client::{Options, Update};

use chat::{Action, Chat};
use remote::Remote;

/// Between two steps of the sign that something is under way.
const STEP: Duration = Duration::from_millis(200);

/// How to begin.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// The session to talk in. Default: the gateway's main session.
    pub(crate) session: Option<String>,
    /// What to say at once.
    pub(crate) message: Option<String>,
    /// How much the agent thinks.
    pub(crate) thinking: Option<String>,
    /// Whether replies go to the session's chat network too.
    pub(crate) deliver: bool,
    /// How many earlier messages are shown.
    pub(crate) history_limit: u32,
}

/// Talks until the person leaves.
pub(crate) async fn run(options: Options, start: Start) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        anyhow::bail!("the chat needs a terminal; for one message use: verso agent --message TEXT");
    }
    let mut remote = Remote::start(options);
    let mut terminal = ratatui::try_init()?;
    // A terminal that does not know pastes shows them as typing.
    drop(crossterm::execute!(io::stdout(), crossterm::event::EnableBracketedPaste));
    let result = talk(&mut terminal, &mut remote, start).await;
    drop(crossterm::execute!(io::stdout(), crossterm::event::DisableBracketedPaste));
    ratatui::restore();
    remote.close().await;
    result
}

async fn talk(terminal: &mut ratatui::DefaultTerminal, remote: &mut Remote, start: Start) -> anyhow::Result<()> {
    let mut chat = Chat::new(start);
    let mut typed = EventStream::new();
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        terminal.draw(|frame| draw::all(frame, &mut chat))?;
        let actions = tokio::select! {
            input = typed.next() => match input {
                Some(Ok(input)) => on_input(&mut chat, &input),
                Some(Err(error)) => return Err(error.into()),
                // The terminal is gone.
                None => return Ok(()),
            },
            update = remote.updates.next() => match update {
                Some(Update::GaveUp(error)) => anyhow::bail!("{}", crate::failure::chain(error.as_ref())),
                Some(update) => chat.on_update(&update),
                None => return Ok(()),
            },
            Some(outcome) = remote.outcomes.recv() => chat.on_outcome(outcome),
            _ = steps.tick(), if chat.is_busy() => { chat.step(); Vec::new() }
        };
        for action in actions {
            if matches!(action, Action::Quit) {
                return Ok(());
            }
            remote.act(&chat, action);
        }
    }
}

fn on_input(chat: &mut Chat, input: &Input) -> Vec<Action> {
    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => chat.on_key(*key),
        Input::Paste(text) => {
            chat.editor.insert(text);
            Vec::new()
        }
        _ => Vec::new(),
    }
}
