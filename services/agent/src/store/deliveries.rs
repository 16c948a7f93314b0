//! Answers on their way to a chat network: written with the end of their run, struck off when the outbox has them.

use rusqlite::{Connection, params};

use super::{Result, Store};
use crate::delivery::Delivery;

impl Store {
    /// Returns what is still to be delivered.
    pub(crate) async fn deliveries(&self) -> Result<Vec<Delivery>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT delivery FROM deliveries ORDER BY at_ms, id")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }

    /// Strikes a delivery off.
    pub(crate) async fn delivered(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write(move |connection| {
            connection.execute("DELETE FROM deliveries WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }
}

/// Writes a delivery down.
pub(super) fn put(connection: &Connection, delivery: &Delivery) -> Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO deliveries (id, at_ms, delivery) VALUES (?1, ?2, ?3)")?.execute(params![
        delivery.id,
        delivery.at_ms,
        serde_json::to_string(delivery)?
    ])?;
    Ok(())
}
