//! An account on an IRC network.

#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use irc_proto::{CapSubCommand, Command, Message, Prefix, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use verso_kit::CancellationToken;
use verso_kit::config::Secret;

use super::connection::Connection;
use crate::adapter::{Adapter, Fault, Refusal, Wellbeing};
use crate::link::Link;
use crate::message::{Address, ChatKind, EventKind, Incoming, Part, Receipt};
use crate::profile::Profile;
use crate::text::{self, Rich};

/// The port of an encrypted connection, and of one that is not.
const PORTS: (u16, u16) = (6_697, 6_667);

/// Bytes of text in one line: 512 without the command, the target and the prefix that the server puts before it.
const LINE_TEXT_BYTES_MAX: usize = 400;

/// Lines that may be sent at once …
const BURST_LINES: u32 = 4;

/// … before each further one waits so long: servers cut off who is faster.
const LINE_PAUSE: Duration = Duration::from_millis(700);

/// How long a registration may take.
const REGISTRATION_TIMEOUT: Duration = Duration::from_mins(1);

/// After how long of silence the server is asked whether it is there.
const PING_AFTER: Duration = Duration::from_mins(1);

/// How long the server may say nothing before the account is started anew.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// Messages that may wait for the connection.
const QUEUE: usize = 16;

/// What is asked of servers that have it.
const CAPABILITIES: [&str; 3] = ["account-tag", "message-tags", "server-time"];

/// An account on an IRC network.
#[derive(Debug)]
pub(crate) struct Session {
    host: String,
    port: u16,
    tls: bool,
    nick: String,
    username: String,
    realname: String,
    password: Option<Secret<String>>,
    sasl_password: Option<Secret<String>>,
    channels: Vec<String>,
    /// The way to the connection, while there is one.
    outgoing: Mutex<Option<mpsc::Sender<Outgoing>>>,
}

/// A message that waits for the connection.
#[derive(Debug)]
struct Outgoing {
    target: String,
    lines: Vec<String>,
    done: oneshot::Sender<Result<(), String>>,
}

/// Where a registration stands.
#[derive(Debug)]
struct Registration {
    nick: String,
    offered: Vec<String>,
}

impl Session {
    pub(crate) fn new(profile: &Profile) -> Result<Self, Fault> {
        let required = |value: Option<&String>, name: &str| {
            let value = value.map(|value| value.trim()).filter(|value| !value.is_empty() && !value.contains(char::is_whitespace));
            value.map(str::to_owned).ok_or_else(|| Fault::Account(format!("channels.irc.{name} is missing or has spaces")))
        };
        let nick = required(profile.nick.as_ref(), "nick")?;
        let tls = profile.tls.unwrap_or(true);
        Ok(Self {
            host: required(profile.host.as_ref(), "host")?,
            port: profile.port.unwrap_or(if tls { PORTS.0 } else { PORTS.1 }),
            tls,
            username: profile.username.clone().unwrap_or_else(|| nick.clone()),
            realname: profile.realname.clone().unwrap_or_else(|| nick.clone()),
            password: profile.password.clone(),
            sasl_password: profile.sasl_password.clone(),
            channels: profile.channels.clone().unwrap_or_default(),
            nick,
            outgoing: Mutex::new(None),
        })
    }

    async fn live(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        let mut connection = Connection::open(&self.host, self.port, self.tls).await?;
        let registered = tokio::time::timeout(REGISTRATION_TIMEOUT, self.register(&mut connection)).await;
        let mut nick = registered.map_err(|_| Fault::Network("the server did not let us in in time".to_owned()))??;
        link.pulse.connected(link.clock.now_ms());
        for channel in &self.channels {
            connection.send(&format!("JOIN {channel}")).await?;
        }
        let (sender, mut outgoing) = mpsc::channel(QUEUE);
        self.set_outgoing(Some(sender));
        let talking = self.talk(&mut connection, link, &mut outgoing, &mut nick);
        let result = tokio::select! {
            () = stop.cancelled() => Ok(()),
            result = talking => result,
        };
        self.set_outgoing(None);
        if stop.is_cancelled() {
            // The server hears it, or sees the connection end.
            drop(connection.send("QUIT :closing").await);
        }
        result
    }

    fn set_outgoing(&self, sender: Option<mpsc::Sender<Outgoing>>) {
        *self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = sender;
    }

    /// Introduces the account. Returns the nick that it got.
    async fn register(&self, connection: &mut Connection) -> Result<String, Fault> {
        if let Some(password) = &self.password {
            connection.send(&format!("PASS {}", password.expose())).await?;
        }
        connection.send("CAP LS 302").await?;
        connection.send(&format!("NICK {}", self.nick)).await?;
        connection.send(&format!("USER {} 0 * :{}", self.username, self.realname)).await?;
        let mut registration = Registration { nick: self.nick.clone(), offered: Vec::new() };
        loop {
            let message = connection.next().await?;
            if let Some(nick) = self.registering(connection, &mut registration, message).await? {
                return Ok(nick);
            }
        }
    }

    async fn registering(&self, connection: &mut Connection, state: &mut Registration, message: Message) -> Result<Option<String>, Fault> {
        match message.command {
            Command::CAP(_, CapSubCommand::LS, more, names) => {
                let last = names.is_none() || more.as_deref() != Some("*");
                let names = names.or(more).unwrap_or_default();
                state.offered.extend(names.split_whitespace().map(|name| name.split('=').next().unwrap_or(name).to_owned()));
                if last {
                    let sasl = self.sasl_password.is_some().then_some("sasl");
                    let wanted = CAPABILITIES.into_iter().chain(sasl).filter(|name| state.offered.iter().any(|offered| offered == name));
                    let wanted: Vec<&str> = wanted.collect();
                    let next = if wanted.is_empty() { "CAP END".to_owned() } else { format!("CAP REQ :{}", wanted.join(" ")) };
                    connection.send(&next).await?;
                }
            }
            Command::CAP(_, CapSubCommand::ACK, first, second) => {
                let names = second.or(first).unwrap_or_default();
                let next = if names.split_whitespace().any(|name| name == "sasl") { "AUTHENTICATE PLAIN" } else { "CAP END" };
                connection.send(next).await?;
            }
            Command::CAP(_, CapSubCommand::NAK, ..) | Command::Response(Response::RPL_SASLSUCCESS, _) => connection.send("CAP END").await?,
            Command::AUTHENTICATE(challenge) if challenge == "+" => {
                let password = self.sasl_password.as_ref().map_or("", |password| password.expose().as_str());
                let words = STANDARD.encode(format!("\0{}\0{password}", self.username));
                connection.send(&format!("AUTHENTICATE {words}")).await?;
            }
            Command::Response(Response::ERR_SASLFAIL | Response::ERR_NICKLOCKED, _) => {
                return Err(Fault::Account("the server does not accept the account's SASL password".to_owned()));
            }
            Command::Response(Response::ERR_PASSWDMISMATCH, _) => {
                return Err(Fault::Account("the server does not accept the password".to_owned()));
            }
            Command::Response(Response::ERR_NICKNAMEINUSE, _) => {
                state.nick.push('_');
                connection.send(&format!("NICK {}", state.nick)).await?;
            }
            Command::Response(Response::ERR_ERRONEOUSNICKNAME, _) => {
                return Err(Fault::Account("the server does not accept the nick".to_owned()));
            }
            Command::Response(Response::RPL_WELCOME, arguments) => {
                return Ok(Some(arguments.into_iter().next().unwrap_or_else(|| state.nick.clone())));
            }
            Command::PING(token, _) => connection.send(&format!("PONG :{token}")).await?,
            Command::ERROR(reason) => return Err(Fault::Network(reason)),
            _ => {}
        }
        Ok(None)
    }

    async fn talk(
        &self,
        connection: &mut Connection,
        link: &Link,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        nick: &mut String,
    ) -> Result<(), Fault> {
        let mut credit = Credit { lines: BURST_LINES, at: Instant::now() };
        let mut quiet_since = Instant::now();
        loop {
            tokio::select! {
                message = connection.next() => {
                    quiet_since = Instant::now();
                    link.pulse.beat(link.clock.now_ms());
                    self.heard(connection, link, nick, message?).await?;
                }
                Some(message) = outgoing.recv() => {
                    for line in &message.lines {
                        credit.wait().await;
                        let sent = connection.send(&format!("PRIVMSG {} :{line}", message.target)).await;
                        if let Err(fault) = sent {
                            drop(message.done.send(Err(fault.to_string())));
                            return Err(fault);
                        }
                    }
                    drop(message.done.send(Ok(())));
                }
                () = tokio::time::sleep_until(quiet_since + PING_AFTER) => {
                    quiet_since = Instant::now();
                    connection.send("PING :alive").await?;
                }
            }
        }
    }

    async fn heard(&self, connection: &mut Connection, link: &Link, nick: &mut String, message: Message) -> Result<(), Fault> {
        match &message.command {
            Command::PING(token, _) => connection.send(&format!("PONG :{token}")).await,
            Command::ERROR(reason) => Err(Fault::Network(reason.clone())),
            Command::NICK(new) if message.source_nickname() == Some(nick.as_str()) => {
                nick.clone_from(new);
                Ok(())
            }
            Command::KICK(channel, whom, _) if whom == nick => connection.send(&format!("JOIN {channel}")).await,
            Command::PRIVMSG(target, text) => match incoming(&message, target, text, nick, link.clock.now_ms()) {
                Some(incoming) => link.take(Some(&incoming), None).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    async fn deliver(&self, part: &Part) -> Result<Receipt, Refusal> {
        let outgoing = self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let later = || Refusal::Later { reason: "the account is not connected".to_owned(), after: None };
        let outgoing = outgoing.ok_or_else(later)?;
        let (done, written) = oneshot::channel();
        let message = Outgoing { target: part.to.peer.clone(), lines: lines(&part.text), done };
        outgoing.send(message).await.map_err(|_| later())?;
        match written.await {
            Ok(Ok(())) => Ok(Receipt { message_id: uuid::Uuid::new_v4().to_string(), chat_id: part.to.peer.clone(), poll_id: None }),
            // Some lines may be out already.
            Ok(Err(reason)) => Err(Refusal::Unknown(reason)),
            Err(_) => Err(Refusal::Unknown("the connection ended".to_owned())),
        }
    }
}

impl Adapter for Session {
    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>> {
        self.live(link, stop).boxed()
    }

    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.deliver(part).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>> {
        let connected = self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some();
        let answer = if connected {
            Ok(Wellbeing { name: self.nick.clone(), ..Wellbeing::default() })
        } else {
            Err(Fault::Network("the account is not connected".to_owned()))
        };
        Box::pin(std::future::ready(answer))
    }

    fn render(&self, rich: &Rich) -> String {
        text::irc(rich)
    }

    fn silence_max(&self) -> Duration {
        SILENCE_MAX
    }

    fn address(&self, target: &str, _thread: Option<&str>) -> Option<Address> {
        let target = target.trim();
        let target = target.strip_prefix("irc:").unwrap_or(target);
        let usable = !target.is_empty() && !target.contains(|character: char| character.is_whitespace() || character == ',');
        usable.then(|| Address { peer: target.to_owned(), thread: None })
    }
}

/// What may be sent at once, and comes back with time.
struct Credit {
    lines: u32,
    at: Instant,
}

impl Credit {
    async fn wait(&mut self) {
        let earned = u32::try_from(self.at.elapsed().as_millis() / LINE_PAUSE.as_millis()).unwrap_or(BURST_LINES);
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(BURST_LINES);
            self.at = Instant::now();
        }
        if self.lines == 0 {
            tokio::time::sleep(LINE_PAUSE).await;
            self.at = Instant::now();
            return;
        }
        self.lines -= 1;
    }
}

/// Reads a message of somebody else.
fn incoming(message: &Message, target: &str, text: &str, nick: &str, now_ms: i64) -> Option<Incoming> {
    let Some(Prefix::Nickname(from, user, host)) = &message.prefix else { return None };
    // A request of one client to another is not for an agent.
    if from.eq_ignore_ascii_case(nick) || text.trim().is_empty() || text.starts_with('\u{1}') {
        return None;
    }
    let tag = |name: &str| message.tags.iter().flatten().find(|tag| tag.0 == name).and_then(|tag| tag.1.clone());
    let group = target.starts_with(['#', '&', '+', '!']);
    let sender = tag("account")
        .map_or_else(|| format!("{from}!{user}@{host}").to_lowercase(), |account| format!("account:{}", account.to_lowercase()));
    Some(Incoming {
        event: tag("msgid").unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        kind: EventKind::Message,
        chat: if group { ChatKind::Group } else { ChatKind::Direct },
        peer: if group { target.to_lowercase() } else { from.clone() },
        thread: None,
        title: group.then(|| target.to_owned()),
        sender,
        sender_name: Some(from.clone()),
        text: text.to_owned(),
        message_id: None,
        mentioned: !group || mentions(text, nick),
        at_ms: now_ms,
        media: Vec::new(),
        album: None,
        may_go_on: false,
    })
}

/// Whether a line holds a nick as a word.
fn mentions(text: &str, nick: &str) -> bool {
    let part_of_nick = |character: char| character.is_alphanumeric() || "-_[]\\`^{}|".contains(character);
    text.split(|character| !part_of_nick(character)).any(|word| word.eq_ignore_ascii_case(nick))
}

/// Cuts a text into lines that a server passes on whole.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut rest = line;
        while rest.len() > LINE_TEXT_BYTES_MAX {
            let hard = (0..=LINE_TEXT_BYTES_MAX).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let (window, _) = rest.split_at(hard);
            let cut = window.rfind(' ').filter(|at| *at > 0).unwrap_or(hard);
            let (head, tail) = rest.split_at(cut);
            lines.push(head.to_owned());
            rest = tail.trim_start();
        }
        lines.push(rest.to_owned());
    }
    lines
}
