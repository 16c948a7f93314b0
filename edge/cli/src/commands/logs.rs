//! `verso logs`: the gateway's log, read through the gateway, or from the file when it is down.

mod filter;
pub(in crate::commands) mod record;

use anyhow::Context as _;
use serde_json::json;
use verso_kit::clock::Clock;
use verso_kit::telemetry::{Logging, Tail};
use verso_proto::edge::v1::{LogsTailRequest, LogsTailResponse};

use super::Session;
use crate::args::Logs;
use crate::client::{Connection, Mode};
use crate::failure::Failure;
use crate::output::{self, Style};
use filter::Filter;
use record::Record;

/// Where lines come from.
enum Source {
    Gateway(Box<Connection>),
    File(Tail),
}

pub(super) async fn run(session: &Session, arguments: &Logs) -> anyhow::Result<()> {
    let style = if arguments.plain { Style::plain() } else { session.style };
    let filter = Filter::of(arguments, Clock::system().now_ms())?;
    let mut printer = Printer { json: arguments.json, style, filter, file: None };
    let mut source = open(session, arguments, &printer).await?;
    let mut cursor = None;
    loop {
        let chunk = source.read(arguments, cursor).await.map_err(|error| unreachable(session, &error, arguments.json))?;
        cursor = Some(chunk.cursor);
        printer.print(&chunk)?;
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(arguments.interval).await;
    }
}

async fn open(session: &Session, arguments: &Logs, printer: &Printer) -> anyhow::Result<Source> {
    match Connection::open(session, &arguments.target, arguments.patience.timeout, Mode::Cli).await {
        Ok(connection) => Ok(Source::Gateway(Box::new(connection))),
        // The file of another machine is not ours to read.
        Err(error) if arguments.target.url.is_some() => Err(unreachable(session, &error, arguments.json)),
        Err(error) => {
            let logging: Logging = session.snapshot.file.section("logging").unwrap_or_default();
            let tail = Tail::current(&logging, &session.instance.state_dir, &Clock::system());
            if !tail.exists() {
                return Err(unreachable(session, &error, arguments.json));
            }
            printer.notice("Gateway not reachable; reading the log file instead.")?;
            Ok(Source::File(tail))
        }
    }
}

/// Says that there is nobody to ask; scripts get the same as JSON.
fn unreachable(session: &Session, error: &anyhow::Error, json: bool) -> anyhow::Error {
    let message = "Gateway not reachable. Is it running and accessible?";
    let hint = format!("Start it with: {}", session.instance.command("gateway"));
    let text = if json {
        json!({"type": "error", "message": message, "error": format!("{error:#}"), "hint": hint}).to_string()
    } else {
        format!("{message}\n{error:#}\nHint: {hint}")
    };
    Failure::new(text).into()
}

impl Source {
    async fn read(&mut self, arguments: &Logs, cursor: Option<i64>) -> anyhow::Result<LogsTailResponse> {
        match self {
            Self::Gateway(connection) => {
                let mut params = json!({"limit": arguments.limit, "maxBytes": arguments.max_bytes});
                if let Some(cursor) = cursor {
                    params["cursor"] = json!(cursor);
                }
                let payload = connection.call("logs.tail", params, arguments.patience.timeout).await?;
                serde_json::from_value(payload).context("logs.tail answered in an unknown shape")
            }
            Self::File(tail) => {
                let (limit, max_bytes) = (Some(arguments.limit.into()), Some(arguments.max_bytes.into()));
                Ok(tail.read(&LogsTailRequest { cursor, limit, max_bytes })?)
            }
        }
    }
}

/// Prints lines in the form that was asked for.
struct Printer {
    json: bool,
    style: Style,
    filter: Filter,
    /// The file that the last lines came from.
    file: Option<String>,
}

impl Printer {
    fn print(&mut self, chunk: &LogsTailResponse) -> std::io::Result<()> {
        if self.file.as_ref() != Some(&chunk.file) || chunk.reset {
            self.head(chunk)?;
        }
        if chunk.truncated {
            self.notice("Log tail truncated (increase --max-bytes).")?;
        }
        if chunk.reset {
            self.notice("Log cursor reset (file rotated).")?;
        }
        for line in &chunk.lines {
            let record = Record::parse(line);
            if !self.filter.accepts(record.as_ref()) {
                continue;
            }
            match (record, self.json) {
                (Some(record), true) => output::record(&record.document(line))?,
                (None, true) => output::record(&json!({"type": "raw", "raw": line}))?,
                (Some(record), false) => output::line(record.render(self.style, output::stdout_is_terminal()))?,
                (None, false) => output::line(line)?,
            }
        }
        Ok(())
    }

    fn head(&mut self, chunk: &LogsTailResponse) -> std::io::Result<()> {
        self.file = Some(chunk.file.clone());
        if self.json {
            output::record(&json!({"type": "meta", "file": chunk.file, "cursor": chunk.cursor, "size": chunk.size}))
        } else {
            output::line(format!("Log file: {}", chunk.file))
        }
    }

    fn notice(&self, message: &str) -> std::io::Result<()> {
        if self.json {
            return output::record(&json!({"type": "notice", "message": message}));
        }
        output::notice(message);
        Ok(())
    }
}
