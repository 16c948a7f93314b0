//! The journal of runs: what was accepted, how far it came, and what was answered. A run's id is its idempotency key.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use verso_proto::agent::v1::{ChatMessage, RunResponse};

use super::listing::{self, Listed};
use super::sessions::{self, SessionHints, SessionRecord, TokenCounts};
use super::{Result, Store, changes, deliveries, events, overflow, transcript, usage};
use crate::delivery::Delivery;
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::sessions::send_policy::SendPolicy;

/// How long an ended run is remembered, in milliseconds: a repeat that comes later is a new run.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;

/// How many ended runs are remembered.
const REMEMBERED_MAX: i64 = 50_000;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    Accepted,
    Running,
    Ok,
    Error,
    Aborted,
}

impl RunState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Aborted => "aborted",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "accepted" => Self::Accepted,
            "running" => Self::Running,
            "ok" => Self::Ok,
            "aborted" => Self::Aborted,
            // The table's check allows nothing else.
            _ => Self::Error,
        }
    }
}

/// One run, as the journal knows it.
#[derive(Debug, Clone)]
pub(crate) struct RunRecord {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent_id: String,
    pub(crate) session_id: String,
    pub(crate) state: RunState,
    /// The request as JSON, until the run has ended.
    pub(crate) request: Option<String>,
    /// The answer, once the run has ended.
    pub(crate) response: Option<RunResponse>,
    /// Counts from 1.
    pub(crate) attempt: i64,
    /// Tools that were called in this attempt and those before it.
    pub(crate) tool_calls: i64,
    /// Where the user's message stands in the transcript, once the run has begun.
    pub(crate) user_position: Option<i64>,
    pub(crate) accepted_at_ms: i64,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) ended_at_ms: Option<i64>,
}

/// A run that is to be accepted.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    /// As JSON: enough to run it after a restart.
    pub(crate) request: String,
    pub(crate) hints: SessionHints,
    /// Whether the session takes it, unless that was set on the session itself.
    pub(crate) policy: Arc<SendPolicy>,
    pub(crate) at_ms: i64,
    /// Set when the run can begin at once: both are then one write.
    pub(crate) opening: Option<Opening>,
}

/// The beginning of a turn.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What the user says. None: the message stands in the transcript already, or there is none.
    pub(crate) user: Option<ChatMessage>,
    /// Whether the session begins afresh with it.
    pub(crate) reset: bool,
    /// It is told which messages of this authority were dropped.
    pub(crate) hears_of_dropped: Option<String>,
    /// The runs whose messages are answered with it, and what they are told.
    pub(crate) within: Vec<(String, RunResponse)>,
}

/// A waiting run that makes room.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) response: RunResponse,
    /// With which authority it was said, and the line that is told of it.
    pub(crate) remembered: Option<(String, String)>,
    /// Lines that are kept.
    pub(crate) lines_max: usize,
}

/// Where a turn begins.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) session: SessionRecord,
    /// Where the user's message stands: everything before it is history.
    pub(crate) position: i64,
    /// When the run began for the first time.
    pub(crate) started_at_ms: i64,
    /// What the user says, with what the session heard since its last turn, as it stands in the transcript.
    pub(crate) user: Option<ChatMessage>,
}

/// What became of an arrival.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// The journal knows the run already.
    Known(Box<RunRecord>),
    /// It was accepted, and has begun if it could.
    New(Option<Box<Head>>),
    /// The session takes no messages. Nothing was written.
    Denied,
}

/// What has come of an end.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Where the first of the run's messages stands.
    pub(crate) first: i64,
    /// The session as it is now.
    pub(crate) session: Option<Listed>,
}

/// How a run ended. All of it becomes visible at once, or nothing.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) session_id: String,
    pub(crate) state: RunState,
    pub(crate) response: RunResponse,
    /// What the turn adds to the transcript.
    pub(crate) messages: Vec<ChatMessage>,
    /// The runs whose messages it has heard, and what they are told.
    pub(crate) within: Vec<(String, RunResponse)>,
    /// What goes to a chat network.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) tokens: TokenCounts,
    pub(crate) at_ms: i64,
    /// Nothing worth mentioning happened: the session is not younger for it. When it was updated before.
    pub(crate) unchanged_since_ms: Option<i64>,
}

const COLUMNS: &str = "run_id, session_key, agent_id, session_id, state, request, response, attempt, tool_calls, user_position, \
                       accepted_at_ms, started_at_ms, ended_at_ms";

impl Finish {
    /// An end that adds nothing to what the run has left so far.
    pub(crate) fn bare(
        run_id: String,
        key: SessionKey,
        session_id: String,
        (state, response): (RunState, RunResponse),
        at_ms: i64,
    ) -> Self {
        Self {
            run_id,
            key,
            session_id,
            state,
            response,
            messages: Vec::new(),
            within: Vec::new(),
            delivery: None,
            tokens: TokenCounts::default(),
            at_ms,
            unchanged_since_ms: None,
        }
    }
}

impl Store {
    /// Writes a run down before it is acknowledged.
    pub(crate) async fn accept(&self, arrival: Arrival) -> Result<Accepted> {
        let epoch = self.epoch;
        self.write(move |connection| accept(connection, arrival, epoch)).await
    }

    /// Begins a run that was accepted earlier, or begins it again.
    pub(crate) async fn begin(&self, run_id: &str, opening: Opening, at_ms: i64) -> Result<Head> {
        let epoch = self.epoch;
        let run_id = run_id.to_owned();
        self.write(move |connection| begin(connection, &run_id, &opening, at_ms, epoch)).await
    }

    /// Notes that a tool is about to be called: from then on the run cannot be repeated.
    pub(crate) async fn note_tool_call(&self, run_id: &str) -> Result<()> {
        let run_id = run_id.to_owned();
        self.write(move |connection| {
            connection.prepare_cached("UPDATE runs SET tool_calls = tool_calls + 1 WHERE run_id = ?1")?.execute([run_id])?;
            Ok(())
        })
        .await
    }

    /// Ends a run that waits, and keeps what is told of it.
    pub(crate) async fn drop_queued(&self, dropped: Dropped, at_ms: i64) -> Result<()> {
        self.write(move |connection| {
            if conclude(connection, &dropped.run_id, RunState::Aborted, &dropped.response, at_ms)?
                && let Some((authority, line)) = &dropped.remembered
            {
                overflow::remember(connection, &dropped.key, authority, line, dropped.lines_max)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends a run: its messages, its session's counts and its answer, all at once. Returns none if the run had ended before.
    pub(crate) async fn finish(&self, finish: Arc<Finish>) -> Result<Option<Finished>> {
        self.write(move |connection| end(connection, &finish)).await
    }

    /// Accepts a command that is answered already, and begins the session afresh first if `reset`.
    pub(crate) async fn accept_answered(
        &self,
        arrival: Arrival,
        reset: bool,
        reply: ChatMessage,
        response: RunResponse,
    ) -> Result<Accepted> {
        let epoch = self.epoch;
        self.write(move |connection| {
            let (run_id, key, at_ms) = (arrival.run_id.clone(), arrival.key.clone(), arrival.at_ms);
            let arrival = Arrival { opening: Some(Opening { user: None, reset, hears_of_dropped: None, within: Vec::new() }), ..arrival };
            let accepted = accept(connection, arrival, epoch)?;
            if let Accepted::New(Some(head)) = &accepted {
                let session_id = head.session.session_id.clone();
                let bare = Finish::bare(run_id, key, session_id, (RunState::Ok, response), at_ms);
                let finish = Finish { messages: vec![reply], ..bare };
                end(connection, &finish)?;
            }
            Ok(accepted)
        })
        .await
    }

    /// Reads a run.
    pub(crate) async fn run(&self, run_id: &str) -> Result<Option<RunRecord>> {
        let run_id = run_id.to_owned();
        self.read(move |connection| load(connection, &run_id)).await
    }

    /// Reads the runs that an earlier incarnation has left behind, in the order in which they came.
    pub(crate) async fn unfinished(&self) -> Result<Vec<RunRecord>> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM runs WHERE ended_at_ms IS NULL ORDER BY accepted_at_ms, run_id");
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], read)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }

    /// Forgets runs that ended long ago. Returns how many.
    pub(crate) async fn prune(&self, now_ms: i64) -> Result<usize> {
        self.write(move |connection| {
            let aged = connection.execute("DELETE FROM runs WHERE ended_at_ms < ?1", [now_ms - REMEMBERED_MS])?;
            let surplus = connection.execute(
                "DELETE FROM runs WHERE ended_at_ms <= (SELECT ended_at_ms FROM runs WHERE ended_at_ms IS NOT NULL
                     ORDER BY ended_at_ms DESC LIMIT 1 OFFSET ?1)",
                [REMEMBERED_MAX],
            )?;
            Ok(aged + surplus)
        })
        .await
    }
}

fn accept(connection: &Connection, arrival: Arrival, epoch: i64) -> Result<Accepted> {
    if let Some(known) = load(connection, &arrival.run_id)? {
        return Ok(Accepted::Known(Box::new(known)));
    }
    if changes::denies(connection, &arrival.key, &arrival.policy, arrival.hints.channel.as_deref())? {
        return Ok(Accepted::Denied);
    }
    let session = sessions::ensure(connection, &arrival.key, &arrival.agent, &arrival.hints, arrival.at_ms)?;
    connection
        .prepare_cached(
            "INSERT INTO runs (run_id, session_key, agent_id, session_id, state, request, attempt, accepted_at_ms, epoch)
             VALUES (?1, ?2, ?3, ?4, 'accepted', ?5, 0, ?6, ?7)",
        )?
        .execute(params![
            arrival.run_id,
            arrival.key.as_str(),
            arrival.agent.as_str(),
            session.session_id,
            arrival.request,
            arrival.at_ms,
            epoch
        ])?;
    let head = arrival.opening.map(|opening| begin(connection, &arrival.run_id, &opening, arrival.at_ms, epoch)).transpose()?;
    Ok(Accepted::New(head.map(Box::new)))
}

fn begin(connection: &Connection, run_id: &str, opening: &Opening, at_ms: i64, epoch: i64) -> Result<Head> {
    let run = load(connection, run_id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    // Begun before: what has been said since then belongs to the fresh session.
    if opening.reset && run.user_position.is_none() {
        sessions::reset(connection, &run.key, at_ms)?;
    }
    let mut session = sessions::load(connection, &run.key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let (position, user) = match (&opening.user, run.user_position) {
        (Some(user), None) => {
            let heard = events::drain(connection, &run.key)?;
            let mut user = messages::after_events(user.clone(), &heard);
            if let Some(authority) = &opening.hears_of_dropped {
                user = overflow::tell(connection, &run.key, authority, user)?;
            }
            let position = transcript::append(connection, &session.session_id, Some(run_id), std::slice::from_ref(&user), at_ms)?;
            (position, Some(user))
        }
        (_, Some(position)) => {
            // Begun before: the turn goes on where its message stands, even if the session was reset since.
            session.session_id.clone_from(&run.session_id);
            (position, transcript::at(connection, &run.session_id, position)?)
        }
        (None, None) => (0, None),
    };
    for (run_id, response) in &opening.within {
        conclude(connection, run_id, RunState::Ok, response, at_ms)?;
    }
    sessions::turn_began(connection, &run.key)?;
    connection
        .prepare_cached(
            "UPDATE runs SET state = 'running', session_id = ?2, attempt = attempt + 1, user_position = ?3,
                 started_at_ms = coalesce(started_at_ms, ?4), epoch = ?5
             WHERE run_id = ?1",
        )?
        .execute(params![run_id, session.session_id, opening.user.as_ref().map(|_| position).or(run.user_position), at_ms, epoch])?;
    Ok(Head { session, position, started_at_ms: run.started_at_ms.unwrap_or(at_ms), user })
}

fn end(connection: &Connection, finish: &Finish) -> Result<Option<Finished>> {
    let ended = conclude(connection, &finish.run_id, finish.state, &finish.response, finish.at_ms)?;
    // A run ends once: what came first counts.
    let mut finished = None;
    if ended {
        for (run_id, response) in &finish.within {
            conclude(connection, run_id, finish.state, response, finish.at_ms)?;
        }
        if let Some(delivery) = &finish.delivery {
            deliveries::put(connection, delivery)?;
        }
        let first = transcript::append(connection, &finish.session_id, Some(&finish.run_id), &finish.messages, finish.at_ms)?;
        usage::record(connection, finish)?;
        sessions::turn_ended(connection, &finish.key, finish.state == RunState::Aborted, &finish.tokens, finish.at_ms)?;
        if let Some(updated_at_ms) = finish.unchanged_since_ms {
            sessions::set_updated(connection, &finish.key, updated_at_ms)?;
        }
        finished = Some(Finished { first, session: listing::listed(connection, finish.key.as_str())? });
    }
    Ok(finished)
}

/// Writes the end of a run. Returns false if it had ended before.
fn conclude(connection: &Connection, run_id: &str, state: RunState, response: &RunResponse, at_ms: i64) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE runs SET state = ?2, response = ?3, ended_at_ms = ?4, request = NULL WHERE run_id = ?1 AND ended_at_ms IS NULL",
        )?
        .execute(params![run_id, state.as_str(), serde_json::to_string(response)?, at_ms])?;
    Ok(changed == 1)
}

fn load(connection: &Connection, run_id: &str) -> Result<Option<RunRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE run_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([run_id], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let response: Option<String> = row.get(6)?;
    Ok(RunRecord {
        run_id: row.get(0)?,
        key: SessionKey::stored(row.get_ref(1)?.as_str()?),
        agent_id: row.get(2)?,
        session_id: row.get(3)?,
        state: RunState::parse(row.get_ref(4)?.as_str()?),
        request: row.get(5)?,
        // An answer that cannot be read is as good as none: the run has ended all the same.
        response: response.and_then(|text| serde_json::from_str(&text).ok()),
        attempt: row.get(7)?,
        tool_calls: row.get(8)?,
        user_position: row.get(9)?,
        accepted_at_ms: row.get(10)?,
        started_at_ms: row.get(11)?,
        ended_at_ms: row.get(12)?,
    })
}
