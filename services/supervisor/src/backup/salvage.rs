//! Reading what can be read of a damaged database.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::copy::check_database;

/// What was read of a damaged database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Rows that were read.
    pub rows: u64,
    /// Tables of which something could not be read.
    pub cut: Vec<String>,
}

/// Copies what can be read of `from` into a new database; none when that is nothing, or does not come to a sound one.
pub(super) fn salvage(from: &Path, to: &Path) -> Option<Salvaged> {
    drop(fs::remove_file(to));
    let salvaged = copy(from, to).ok().filter(|salvaged| salvaged.rows > 0 && check_database(to).is_ok());
    if salvaged.is_none() {
        drop(fs::remove_file(to));
    }
    salvaged
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<Salvaged> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let private = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    private.map_err(|_| rusqlite::Error::InvalidPath(to.to_owned()))?;
    let target = Connection::open(to)?;
    target.pragma_update(None, "foreign_keys", false)?;
    target.pragma_update(None, "synchronous", "OFF")?;
    let version: i64 = source.pragma_query_value(None, "user_version", |row| row.get(0))?;
    target.pragma_update(None, "user_version", version)?;
    let mut salvaged = Salvaged::default();
    target.execute_batch("BEGIN")?;
    let mut others = Vec::new();
    for (kind, name, sql) in definitions(&source)? {
        if kind == "table" {
            target.execute_batch(&sql)?;
            let (rows, whole) = copy_table(&source, &target, &name)?;
            salvaged.rows += rows;
            if !whole {
                salvaged.cut.push(name);
            }
        } else {
            others.push(sql);
        }
    }
    for sql in others {
        target.execute_batch(&sql)?;
    }
    target.execute_batch("COMMIT")?;
    target.close().map_err(|(_, error)| error)?;
    Ok(salvaged)
}

/// What the database consists of: the kind, name and definition of each thing that was made by one.
fn definitions(source: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let wanted = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut statement = source.prepare(wanted)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Copies the rows of a table up to the first that cannot be read, then those from its end down to the last that cannot. Returns how many,
/// and whether that is all.
fn copy_table(source: &Connection, target: &Connection, name: &str) -> rusqlite::Result<(u64, bool)> {
    let table = quoted(name);
    let mut keys = Vec::new();
    let mut columns = Vec::new();
    let mut statement = source.prepare(&format!("PRAGMA table_info({table})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (column, place): (String, i64) = (row.get(1)?, row.get(5)?);
        if place > 0 {
            keys.push((place, quoted(&column)));
        }
        columns.push(quoted(&column));
    }
    keys.sort();
    let by_rowid = source.prepare(&format!("SELECT rowid FROM {table} LIMIT 0")).is_ok();
    if by_rowid {
        keys = vec![(1, "rowid".to_owned())];
        columns.insert(0, "rowid".to_owned());
    }
    let places = vec!["?"; columns.len()].join(", ");
    let columns = columns.join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})");
    let (mut copied, mut whole) = (0, false);
    for direction in ["ASC", "DESC"] {
        let order = keys.iter().map(|(_, key)| format!("{key} {direction}")).collect::<Vec<_>>().join(", ");
        let (count, end) = copy_rows(source, target, &format!("SELECT {columns} FROM {table} ORDER BY {order}"), &insert)?;
        copied += count;
        whole = end;
        if end {
            break;
        }
    }
    Ok((copied, whole && copied == count(target, &table)?))
}

fn copy_rows(source: &Connection, target: &Connection, select: &str, insert: &str) -> rusqlite::Result<(u64, bool)> {
    // What cannot even be looked for has no rows.
    let Ok(mut select) = source.prepare(select) else { return Ok((0, false)) };
    let width = select.column_count();
    let mut insert = target.prepare(insert)?;
    let Ok(mut rows) = select.query([]) else { return Ok((0, false)) };
    let mut copied = 0;
    loop {
        let values: rusqlite::Result<Vec<Value>> = match rows.next() {
            Ok(None) => return Ok((copied, true)),
            Ok(Some(row)) => (0..width).map(|at| row.get(at)).collect(),
            Err(error) => Err(error),
        };
        let Ok(values) = values else { return Ok((copied, false)) };
        copied += u64::try_from(insert.execute(params_from_iter(values)).unwrap_or(0)).unwrap_or(0);
    }
}

fn count(target: &Connection, table: &str) -> rusqlite::Result<u64> {
    target
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        .map(|count| u64::try_from(count).unwrap_or(0))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
