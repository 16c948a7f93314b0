//! Introducing an account to a server: capabilities, SASL, a nick.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irc_proto::{CapSubCommand, Command, Message, Response};
use verso_kit::config::Secret;

use super::connection::Connection;
use crate::adapter::Fault;

/// What is asked of servers that have it.
const CAPABILITIES: [&str; 3] = ["account-tag", "message-tags", "server-time"];

/// The longest piece of a SASL answer, in characters.
const SASL_PIECE_CHARS: usize = 400;

/// How many other nicks are tried.
const NICKS_MAX: usize = 5;

/// Who is introduced.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) nick: String,
    pub(super) username: String,
    pub(super) realname: String,
    pub(super) password: Option<Secret<String>>,
    pub(super) sasl_password: Option<Secret<String>>,
    pub(super) nickserv_password: Option<Secret<String>>,
}

/// Where a registration stands.
#[derive(Debug)]
struct Registration {
    nick: String,
    others: usize,
    offered: Vec<String>,
    /// Whether the server has accepted the account's password.
    proven: bool,
}

impl Identity {
    /// Introduces the account. Returns the nick that it got.
    pub(super) async fn register(&self, connection: &mut Connection) -> Result<String, Fault> {
        if let Some(password) = &self.password {
            connection.send(&format!("PASS {}", password.expose())).await?;
        }
        connection.send("CAP LS 302").await?;
        connection.send(&format!("NICK {}", self.nick)).await?;
        connection.send(&format!("USER {} 0 * :{}", self.username, self.realname)).await?;
        let mut state = Registration { nick: self.nick.clone(), others: 0, offered: Vec::new(), proven: false };
        loop {
            let message = connection.next().await?;
            if let Some(nick) = self.answer(connection, &mut state, message).await? {
                self.ask_for_nick(connection, &nick).await?;
                return Ok(nick);
            }
        }
    }

    /// Asks for the wanted nick while somebody else bears it, and the services to make him give it up.
    pub(super) async fn ask_for_nick(&self, connection: &mut Connection, current: &str) -> Result<(), Fault> {
        if let Some(password) = &self.nickserv_password {
            if current.eq_ignore_ascii_case(&self.nick) {
                return connection.send(&format!("PRIVMSG NickServ :IDENTIFY {}", password.expose())).await;
            }
            connection.send(&format!("PRIVMSG NickServ :RECOVER {} {}", self.nick, password.expose())).await?;
            connection.send(&format!("PRIVMSG NickServ :IDENTIFY {} {}", self.nick, password.expose())).await?;
        }
        if current.eq_ignore_ascii_case(&self.nick) { Ok(()) } else { connection.send(&format!("NICK {}", self.nick)).await }
    }

    async fn answer(&self, connection: &mut Connection, state: &mut Registration, message: Message) -> Result<Option<String>, Fault> {
        match message.command {
            Command::CAP(_, CapSubCommand::LS, more, names) => {
                let last = names.is_none() || more.as_deref() != Some("*");
                let names = names.or(more).unwrap_or_default();
                state.offered.extend(names.split_whitespace().map(|name| name.split('=').next().unwrap_or(name).to_owned()));
                if last {
                    self.choose(connection, state).await?;
                }
            }
            Command::CAP(_, CapSubCommand::ACK, first, second) => {
                let names = second.or(first).unwrap_or_default();
                let next = if names.split_whitespace().any(|name| name == "sasl") { "AUTHENTICATE PLAIN" } else { "CAP END" };
                connection.send(next).await?;
            }
            Command::CAP(_, CapSubCommand::NAK, ..) if self.sasl_password.is_none() => connection.send("CAP END").await?,
            Command::CAP(_, CapSubCommand::NAK, ..) => return Err(no_sasl()),
            Command::Response(Response::RPL_SASLSUCCESS, _) => {
                state.proven = true;
                connection.send("CAP END").await?;
            }
            Command::AUTHENTICATE(challenge) if challenge == "+" => self.prove(connection).await?,
            Command::Response(Response::RPL_WELCOME, arguments) => {
                // A server that knows nothing of capabilities lets us in without having seen the password.
                if self.sasl_password.is_some() && !state.proven {
                    return Err(no_sasl());
                }
                return Ok(Some(arguments.into_iter().next().unwrap_or_else(|| state.nick.clone())));
            }
            Command::Response(Response::ERR_NICKNAMEINUSE, _) => {
                state.others += 1;
                if state.others > NICKS_MAX {
                    return Err(Fault::Network("the nick and all others that were tried are in use".to_owned()));
                }
                state.nick.push('_');
                connection.send(&format!("NICK {}", state.nick)).await?;
            }
            Command::PING(token, _) => connection.send(&format!("PONG :{token}")).await?,
            Command::ERROR(reason) => return Err(Fault::Network(reason)),
            Command::Response(response, _) => refused(response)?,
            _ => {}
        }
        Ok(None)
    }

    async fn choose(&self, connection: &mut Connection, state: &Registration) -> Result<(), Fault> {
        let offered = |name: &str| state.offered.iter().any(|offered| offered == name);
        if self.sasl_password.is_some() && !offered("sasl") {
            return Err(no_sasl());
        }
        let sasl = self.sasl_password.is_some().then_some("sasl");
        let wanted: Vec<&str> = CAPABILITIES.into_iter().chain(sasl).filter(|name| offered(name)).collect();
        let next = if wanted.is_empty() { "CAP END".to_owned() } else { format!("CAP REQ :{}", wanted.join(" ")) };
        connection.send(&next).await
    }

    /// Shows the account's password, in pieces that fit into a line.
    async fn prove(&self, connection: &mut Connection) -> Result<(), Fault> {
        let password = self.sasl_password.as_ref().map_or("", |password| password.expose().as_str());
        let words = STANDARD.encode(format!("\0{}\0{password}", self.username));
        let mut rest = words.as_str();
        loop {
            let (piece, after) = rest.split_at(rest.len().min(SASL_PIECE_CHARS));
            connection.send(&format!("AUTHENTICATE {}", if piece.is_empty() { "+" } else { piece })).await?;
            if piece.len() < SASL_PIECE_CHARS {
                return Ok(());
            }
            rest = after;
        }
    }
}

fn refused(response: Response) -> Result<(), Fault> {
    let words = match response {
        Response::ERR_SASLFAIL | Response::ERR_NICKLOCKED => "the server does not accept the account's SASL password",
        Response::ERR_PASSWDMISMATCH => "the server does not accept the password",
        Response::ERR_ERRONEOUSNICKNAME => "the server does not accept the nick",
        Response::ERR_YOUREBANNEDCREEP => "the server has banned us",
        _ => return Ok(()),
    };
    Err(Fault::Account(words.to_owned()))
}

fn no_sasl() -> Fault {
    Fault::Account("the server has no SASL: without it anybody could pose as the account. Use nickservPassword there".to_owned())
}
