//! An account on an IRC network.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use irc_proto::{Command, Message};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use verso_kit::CancellationToken;

use super::connection::{Connection, Tls};
use super::reading;
use super::registration::Identity;
use crate::adapter::{Adapter, Fault, Refusal, Wellbeing};
use crate::link::Link;
use crate::mentions::Mentions;
use crate::message::{Address, Part, Receipt};
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

/// How often the wanted nick is asked for while somebody else bears it.
const NICK_INTERVAL: Duration = Duration::from_secs(30);

/// People whose nick is known to be theirs.
const PEOPLE_MAX: usize = 4_096;

/// An account on an IRC network.
#[derive(Debug)]
pub(crate) struct Session {
    host: String,
    port: u16,
    tls: Option<Tls>,
    identity: Identity,
    channels: Vec<String>,
    mentions: Mentions,
    /// The nicks of those who have written, and whether each was given up since: what is for somebody is not told to who took his nick.
    people: Mutex<HashMap<String, bool>>,
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

impl Session {
    pub(crate) fn new(profile: &Profile) -> Result<Self, Fault> {
        let required = |value: Option<&String>, name: &str| {
            let value = value.map(|value| value.trim()).filter(|value| !value.is_empty() && !value.contains(char::is_whitespace));
            value.map(str::to_owned).ok_or_else(|| Fault::Account(format!("channels.irc.{name} is missing or has spaces")))
        };
        let nick = required(profile.nick.as_ref(), "nick")?;
        let tls = profile.tls.unwrap_or(true);
        let identity = Identity {
            username: profile.username.clone().unwrap_or_else(|| nick.clone()),
            realname: profile.realname.clone().unwrap_or_else(|| nick.clone()),
            password: profile.password.clone(),
            sasl_password: profile.sasl_password.clone(),
            nickserv_password: profile.nickserv_password.clone(),
            nick,
        };
        Ok(Self {
            host: required(profile.host.as_ref(), "host")?,
            port: profile.port.unwrap_or(if tls { PORTS.0 } else { PORTS.1 }),
            tls: tls.then(|| Tls { ca_file: profile.tls_ca_file.clone() }),
            identity,
            channels: profile.channels.clone().unwrap_or_default(),
            mentions: profile.mentions(),
            people: Mutex::default(),
            outgoing: Mutex::new(None),
        })
    }

    async fn live(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        let mut connection = Connection::open(&self.host, self.port, self.tls.as_ref()).await?;
        let registered = tokio::time::timeout(REGISTRATION_TIMEOUT, self.identity.register(&mut connection)).await;
        let mut nick = registered.map_err(|_| Fault::Network("the server did not let us in in time".to_owned()))??;
        link.pulse.connected(link.clock.now_ms());
        // Nicks may have changed hands while we were away.
        self.people().values_mut().for_each(|gone| *gone = true);
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

    async fn talk(
        &self,
        connection: &mut Connection,
        link: &Link,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        nick: &mut String,
    ) -> Result<(), Fault> {
        let mut credit = Credit { lines: BURST_LINES, at: Instant::now() };
        let mut quiet_since = Instant::now();
        let mut nick_check = tokio::time::interval(NICK_INTERVAL);
        nick_check.reset();
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
                _ = nick_check.tick(), if !nick.eq_ignore_ascii_case(&self.identity.nick) => {
                    self.identity.ask_for_nick(connection, nick).await?;
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
            Command::NICK(_) | Command::QUIT(_) => self.gave_up(connection, &message, nick).await,
            Command::KICK(channel, whom, _) if whom == nick => connection.send(&format!("JOIN {channel}")).await,
            Command::PRIVMSG(target, text) => {
                let incoming = reading::incoming(&message, (target, text), nick, &self.mentions, link.clock.now_ms());
                let Some(incoming) = incoming else { return Ok(()) };
                self.remember(&message);
                link.take(Some(&incoming), None).await
            }
            _ => Ok(()),
        }
    }

    fn people(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.people.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes who bears a nick.
    fn remember(&self, message: &Message) {
        let Some(nick) = message.source_nickname() else { return };
        let mut people = self.people();
        if people.len() >= PEOPLE_MAX {
            people.retain(|_, gone| !*gone);
        }
        if people.len() < PEOPLE_MAX {
            people.insert(nick.to_lowercase(), false);
        }
    }

    /// Somebody gave his nick up. If it is the one that we want, we take it.
    async fn gave_up(&self, connection: &mut Connection, message: &Message, nick: &str) -> Result<(), Fault> {
        let Some(from) = message.source_nickname() else { return Ok(()) };
        if let Some(gone) = self.people().get_mut(&from.to_lowercase()) {
            *gone = true;
        }
        let wanted = from.eq_ignore_ascii_case(&self.identity.nick) && !nick.eq_ignore_ascii_case(from);
        if wanted { self.identity.ask_for_nick(connection, nick).await } else { Ok(()) }
    }

    /// Whether what is for a nick's former bearer would be told to somebody else.
    fn changed_hands(&self, target: &str) -> bool {
        !reading::is_channel(target) && self.people().get(&target.to_lowercase()).copied().unwrap_or(false)
    }

    async fn deliver(&self, part: &Part) -> Result<Receipt, Refusal> {
        let outgoing = self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let later = || Refusal::Later { reason: "the account is not connected".to_owned(), after: None };
        let outgoing = outgoing.ok_or_else(later)?;
        if self.changed_hands(&part.to.peer) {
            return Err(Refusal::Never(format!("{} has left since, and somebody else may bear the nick now", part.to.peer)));
        }
        let (done, written) = oneshot::channel();
        let message = Outgoing { target: part.to.peer.clone(), lines: lines(&part.text), done };
        outgoing.send(message).await.map_err(|_| later())?;
        match written.await {
            Ok(Ok(())) => Ok(Receipt::new(uuid::Uuid::new_v4().to_string(), part.to.peer.clone())),
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
            Ok(Wellbeing { name: self.identity.nick.clone(), ..Wellbeing::default() })
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
